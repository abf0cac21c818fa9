"""The messages between parent and worker."""
