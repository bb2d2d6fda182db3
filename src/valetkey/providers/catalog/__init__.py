"""The providers we ship (TOML), each with where its facts come from."""
