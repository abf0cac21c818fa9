"""What can be asked for: scenarios, suites of them, and the words that select some."""
