"""The frameworks that can train: each a `base.Backend`, loaded by name where its framework is installed."""
