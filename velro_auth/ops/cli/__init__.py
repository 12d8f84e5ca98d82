"""The command line: ``velro-auth …`` and ``python -m velro_auth …``.

A command is imported when it is used: ``config check`` does not need a database driver.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

import click

from velro_auth import __version__

#: Command → module and function, in the order of ``--help``.
COMMANDS: Final[Mapping[str, str]] = {
    "dev": "velro_auth.ops.cli.dev:dev",
    "init": "velro_auth.ops.cli.init:init",
    "serve": "velro_auth.ops.cli.serve:serve",
    "health": "velro_auth.ops.cli.health:health",
    "config": "velro_auth.ops.cli.config:config",
    "rules": "velro_auth.ops.cli.rules:rules",
    "reload": "velro_auth.ops.cli.reload:reload",
    "db": "velro_auth.ops.cli.db:db",
    "checkpoint": "velro_auth.ops.cli.checkpoint:checkpoint",
    "rollback": "velro_auth.ops.cli.rollback:rollback",
    "doctor": "velro_auth.ops.cli.doctor:doctor",
    "user": "velro_auth.ops.cli.user:user",
    "guard": "velro_auth.ops.cli.guard:guard",
    "prove": "velro_auth.ops.cli.timing_test:prove",
    "audit": "velro_auth.ops.cli.audit:audit",
    "bench": "velro_auth.ops.cli.bench:bench",
    "monitor": "velro_auth.ops.cli.monitor:monitor",
}


class Commands(click.Group):
    """A group that imports a command on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="velro-auth")
def main() -> None:
    """Run and operate a login gateway in front of Supabase Auth."""
