"""The parts of the OAuth server for tests; its door is valetkey.testing.oauth_server."""
