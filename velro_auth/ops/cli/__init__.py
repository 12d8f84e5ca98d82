"""The command line: ``velro-auth …`` and ``python -m velro_auth …``.

A command is imported when it is used: ``config check`` does not need a database driver. Its examples and exit statuses
are in ``help.toml``, and are added to its help when it is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import click

from velro_auth.config.settings import inherited
from velro_auth.errors import VelroAuthError
from velro_auth.ops.cli.help_texts import add_help

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
    "completion": "velro_auth.ops.cli.completion:completion",
}


class Commands(click.Group):
    """A group that imports a command on first use, and prints our errors as one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except VelroAuthError as error:
            raise click.ClickException(str(error)) from error

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
        add_help(command, cmd_name)
        return command


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from velro_auth.ops.cli.versions import version  # noqa: PLC0415 - starts git in a checkout

        click.echo(f"velro-auth {version()}")
        context.exit()


@click.group(cls=Commands)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and its commit.",
)
@click.option("--no-color", is_flag=True, help="Print without colours, as the variable NO_COLOR does.")
@click.pass_context
def main(context: click.Context, *, no_color: bool) -> None:
    """Run and operate a login gateway in front of Supabase Auth."""
    if no_color or inherited().get("NO_COLOR"):
        context.color = False


add_help(main, "")
