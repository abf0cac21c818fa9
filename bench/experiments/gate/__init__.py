"""The regression gate: measure two versions of the code in turns, block by block, and decide."""
