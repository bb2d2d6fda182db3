"""What we ask of the world. Protocols only; each may be called from any loop and any thread."""
