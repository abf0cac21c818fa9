"""NVIDIA's cards: which of them CUDA sees, what their driver tells of them, and which builds run on them."""
