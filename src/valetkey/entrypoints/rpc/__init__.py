"""Registered services."""
