"""What is timed inside the worker: runs, ceilings, the phases of an epoch."""
