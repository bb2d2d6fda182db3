"""The chat on a FastAPI app."""
