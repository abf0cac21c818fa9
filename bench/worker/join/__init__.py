"""Ranks that a job manager has started: each but rank 0 makes one connection to it, and starts workers as it is told."""
