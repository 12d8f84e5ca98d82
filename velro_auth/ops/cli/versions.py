"""Which version this is, and which commit it was made from."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path
from typing import Final

from velro_auth import __version__
from velro_auth.config.settings import Settings

#: Written into the package by ``make dist``.
_BUILD_FILE: Final = "build.json"

#: As Git shortens it.
_SHORT: Final = 12


def version() -> str:
    """Return the version with its commit, such as ``0.2.0 (commit 1f2e3d4c5b6a)``; without one if none is known."""
    found = commit()
    return f"{__version__} (commit {_short(found)})" if found else __version__


def commit() -> str:
    """Return the commit of this code: of a deployment, of a built package, or of a checkout; empty if none is known."""
    return Settings.from_environment().commit or _built() or _checked_out()


def _short(name: str) -> str:
    number, dash, rest = name.partition("-")
    return f"{number[:_SHORT]}{dash}{rest}"


def _built() -> str:
    try:
        return str(json.loads(resources.files("velro_auth").joinpath(_BUILD_FILE).read_text("utf-8"))["commit"])
    except (OSError, ValueError, KeyError):
        return ""


def _checked_out() -> str:
    """Return the commit of the checkout that this package is a folder of; a package installed beside one has none."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=40"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()
