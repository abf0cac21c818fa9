"""Ranks that a job manager has started: each makes one connection to rank 0, and starts workers as it is told."""
