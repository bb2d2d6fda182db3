"""Language models: the offline stand-in, and those behind a network, through pydantic-ai."""
