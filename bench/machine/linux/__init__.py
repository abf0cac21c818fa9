"""What the kernel's files say: of processors, control groups and counters."""
