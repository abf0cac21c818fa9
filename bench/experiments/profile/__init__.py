"""The profile of an epoch: its measurement, its breakdown, and MXNet's trace."""
