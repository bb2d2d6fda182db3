"""How the tables came to be: one file per change, applied at the first opening that finds them behind."""
