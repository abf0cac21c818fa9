"""The machines of a measurement on several: those of a hosts file, or of a job that was started on each of them."""
