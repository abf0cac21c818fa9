"""Facts about this computer: what a result is true of, and what was done to it meanwhile."""
