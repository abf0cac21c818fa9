"""What is stored: the records of every kind of file, and the store that reads and writes them."""
