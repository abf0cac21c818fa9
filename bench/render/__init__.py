"""How results look: rows become tables once (`tables`), and every format is a few lines around those."""
