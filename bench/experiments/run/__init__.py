"""Run a suite: which runs to make, in which order, and how long they will take."""
