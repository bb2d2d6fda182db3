"""Frameworks for agents: a Pocket that speaks each one's language."""
