"""Can measurements on this machine be trusted? Checks, and an A/A test."""
