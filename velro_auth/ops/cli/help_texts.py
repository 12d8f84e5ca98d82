"""Examples and exit statuses of every command, from ``help.toml``: they end the text of ``--help``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import click

#: Exit statuses that most commands have.
USUAL: Final = "0 done; 1 not done, and a sentence says why; 2 wrong usage"


@functools.cache
def texts() -> Mapping[str, Mapping[str, Any]]:
    """Return command, such as ``db up``, → its ``examples`` and, where they are not the usual ones, its ``exit``."""
    return tomllib.loads(resources.files(__package__).joinpath("help.toml").read_text("utf-8"))


def exit_statuses(path: str) -> str:
    """Return the exit statuses of a command in one sentence."""
    return str(texts().get(path, {}).get("exit", USUAL))


def add_help(command: click.Command, path: str) -> None:
    """Add examples and exit statuses to the help of *command* and of all commands below it.

    *path* is its name with those above it, without ``velro-auth``: ``db up``.
    """
    found = texts().get(path or "velro-auth", {})
    # \b keeps click from filling the lines up.
    examples = "".join(f"\n  {line}" for line in found.get("examples", ()))
    statuses = f"Exit status: {exit_statuses(path or 'velro-auth')}."
    command.epilog = f"\b\nExamples:{examples}\n\n{statuses}" if examples else statuses
    if isinstance(command, click.Group) and path:
        for name, below in command.commands.items():
            add_help(below, f"{path} {name}")
