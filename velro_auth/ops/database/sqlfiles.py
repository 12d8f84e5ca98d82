"""Reads the SQL that lies beside the code of this package."""

from __future__ import annotations

from importlib import resources


def read(name: str) -> str:
    """Return the text of the SQL file *name*."""
    return resources.files("velro_auth.ops.database").joinpath(f"{name}.sql").read_text("utf-8")
