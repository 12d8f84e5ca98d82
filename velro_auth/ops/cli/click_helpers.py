"""How commands behave that look after a database or a repository: one sentence for an error, warnings apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from velro_auth.errors import VelroAuthError

Command = TypeVar("Command", bound=Callable[..., Any])


class OneSentence(click.Command):
    """A command that turns our errors into one sentence and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except VelroAuthError as error:
            raise click.ClickException(str(error)) from error


class OneSentenceGroup(OneSentence, click.Group):
    """The same for a group of commands."""


def database_option(command: Command) -> Command:
    """Add the option that names the database."""
    return click.option(
        "--database-url",
        envvar="DATABASE_URL",
        show_envvar=True,
        default="",
        help="The database, as the role postgres.",
    )(command)


def warn(message: str) -> None:
    """Say what stands in nobody's way, apart from the output."""
    click.echo(f"warning: {message}", err=True)
