"""Copied from the gateway: see clients/python/copy_core.py."""
