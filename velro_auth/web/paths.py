"""Paths and what is below them."""

from __future__ import annotations

from collections.abc import Iterable


def is_below(path: str, prefixes: Iterable[str]) -> bool:
    """Tell whether *path* is one of *prefixes* or something below one."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
