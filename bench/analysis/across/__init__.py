"""What several files say of each other: comparisons, histories."""
