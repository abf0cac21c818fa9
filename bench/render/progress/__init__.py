"""Lines that live while something lasts."""
