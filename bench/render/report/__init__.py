"""The report: its answer, its pictures, its sections."""
