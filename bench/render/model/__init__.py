"""What every format shows: columns, tables, pivots, captions, marks, documents."""
