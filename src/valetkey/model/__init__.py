"""The nouns that travel between the rooms. Values only: a method may compute from its own fields."""
