"""One module for each kind of result: its tables."""
