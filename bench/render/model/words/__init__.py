"""What tables say in words: captions, labels, explanations."""
