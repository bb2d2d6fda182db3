"""The road, in your process: the names of seeds 000-002."""
