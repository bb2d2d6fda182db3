"""Whose account?"""
