"""Whether this machine can be trusted: checks, and the same code against itself."""
