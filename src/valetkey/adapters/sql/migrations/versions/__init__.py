"""One file per change, each additive: the version before reads what the newest one wrote."""
