"""Stores the state of a deployment in an annotated git tag, and plans the rollback to it."""
