"""The way in for requests to providers."""
