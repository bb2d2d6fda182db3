"""The parts of the offline stand-in: what it makes of words, and of results."""
