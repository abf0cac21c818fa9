"""Statistics: numbers in, numbers out. No type of the benchmark is known here."""
