"""Ways in. Each turns its own request into a Call and renders the outcome from one table."""
