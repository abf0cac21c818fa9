"""Statistics: numbers in, numbers out. No module here knows a type of the benchmark."""
