"""One file per way to obtain a credential."""
