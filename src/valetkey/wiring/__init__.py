"""Settings in, a ready system out: the one place that picks adapters."""
