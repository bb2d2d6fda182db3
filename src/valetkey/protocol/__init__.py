"""The wire and nothing but the wire: bytes in, values out; no I/O, no clock, no randomness."""
