"""The regression gate: two versions of the code in turns, block by block, and what they allow to conclude."""
