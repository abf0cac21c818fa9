"""How results look: from rows to text, pages and pictures. Nothing is measured and no file is read here."""
