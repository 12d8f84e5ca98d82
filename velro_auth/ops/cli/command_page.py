"""The reference page of the command line, made from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from velro_auth.ops.cli.help_texts import exit_statuses, texts

_HEAD: Final = """# Command line

Every command with its options. Made by: `velro-auth config commands`.

* `--help` after a command prints the same, with examples.
* `--json` prints one JSON document on standard output; remarks and progress go to standard error.
* Progress is shown on a terminal only. `NO_COLOR=1`, or `--no-color` before the command, prints without colours.
* `velro-auth --version` prints the version and its commit.
* An error is one sentence on standard error, with what to do.
* `velro-auth completion bash` (`zsh`, `fish`) prints what the shell needs to complete commands and options.

Exit status, unless a command says otherwise: 0 done, 1 not done, 2 wrong usage.
"""


def command_page(main: click.Command) -> str:
    """Return the page for the command *main* and all below it."""
    return _HEAD + "".join(_section(path, command) for path, command in walk(main) if path)


def walk(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command, with its name and those above it, such as ``db up``; ``velro-auth`` itself as ``""``."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk(below, f"{path} {name}".strip())


def _section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"velro-auth {path}")
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = re.sub(r"\n?\n?Exit status[^\n]*(\n(?!\n)[^\n]*)*", "", inspect.cleandoc(command.help or "")).strip()
    rows = [record for one in command.params if (record := one.get_help_record(context)) is not None]
    options = "".join(f"| `{_cell(names)}` | {_cell(told)} |\n" for names, told in rows)
    table = f"\n| option | |\n| --- | --- |\n{options}" if options else ""
    examples = "\n".join(texts().get(path, {}).get("examples", ()))
    return (
        f"\n## {path}\n\nUsage: `{usage}`\n\n{_marked(text)}\n{table}"
        f"\n```sh\n{examples}\n```\n\nExit status: {exit_statuses(path)}.\n"
    )


def _marked(text: str) -> str:
    return text.replace("\b\n", "").replace("``", "`").replace("<", "&lt;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")
