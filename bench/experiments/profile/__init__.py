"""Where an epoch goes: the breakdown of a profile, and MXNet's trace."""
