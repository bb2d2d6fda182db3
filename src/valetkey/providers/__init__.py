"""One entry per provider; data, not code."""
