"""The tables of what several files say of each other."""
