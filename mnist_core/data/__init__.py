"""The four files of a data set: fetched, drawn, kept and checked. `datasets` and `idx` are the way in."""
