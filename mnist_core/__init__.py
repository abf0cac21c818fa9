"""What is measured: the tutorial's networks, data and training loop. No clock, no printing, no argument parsing."""
