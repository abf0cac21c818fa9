"""From files to statements: rows, what is fastest, what several ranks give. Pure functions over records."""
