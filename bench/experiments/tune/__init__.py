"""The search for the fastest settings of a loop: what is measured next, and what has lost."""
