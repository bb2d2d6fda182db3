"""Where secrets rest."""
