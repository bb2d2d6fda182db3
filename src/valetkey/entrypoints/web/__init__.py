"""Pages for people; one shell."""
