"""Progress: what is shown while something is measured."""
