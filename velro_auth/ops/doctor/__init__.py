"""Checks everything that a login depends on: what is wrong, why it matters, and how to fix it."""
