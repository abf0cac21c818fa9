"""From files to statements: rows, comparisons, histories. Pure functions over records."""
