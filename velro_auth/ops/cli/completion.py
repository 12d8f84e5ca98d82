"""``velro-auth completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_PROGRAM: Final = "velro-auth"
_VARIABLE: Final = "_VELRO_AUTH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in SHELL."""
    made = get_completion_class(shell)
    assert made is not None, "one of click's own"
    click.echo(made(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
