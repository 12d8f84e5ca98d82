"""``velro-auth config``: show and check the settings."""

from __future__ import annotations

import sys
from typing import Any

import click

from velro_auth.config.settings import Settings, shown, specs
from velro_auth.ops.cli.click_helpers import json_option, print_json
from velro_auth.ops.cli.serve import settings_here


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@json_option
def check(*, as_json: bool) -> None:
    """Print every setting, where it came from, its value (secrets masked), and every error."""
    settings = settings_here()
    if as_json:
        print_json(_document(settings))
        sys.exit(1 if settings.errors else 0)
    width = max(len(spec.metadata["variable"]) for spec in specs())
    for spec in specs():
        variable = spec.metadata["variable"]
        print(f"{variable:<{width}}  {settings.origins[variable]:<11}  {shown(settings, spec)}")
    print()
    for advice in settings.advice:
        print(f"look at  {advice}")
    for error in settings.errors:
        print(f"wrong  {error}")
    if settings.errors:
        print("\nUntil this is fixed, login answers 503 upstream_misconfigured.")
        sys.exit(1)
    print("All settings are fit to serve.")


def _document(settings: Settings) -> dict[str, Any]:
    rows = [
        {"variable": name, "origin": settings.origins[name], "value": shown(settings, spec)}
        for spec in specs()
        if (name := spec.metadata["variable"])
    ]
    errors = [{"variable": error.variable, "advice": error.advice} for error in settings.errors]
    return {"settings": rows, "advice": list(map(str, settings.advice)), "errors": errors}


@config.command()
def example() -> None:
    """Print ``.env.example``: every variable with its default and one sentence."""
    print(dotenv(), end="")


def dotenv() -> str:
    """Return ``.env.example``: every variable with its default and a comment."""
    defaults = Settings()
    lines = ["# Every setting with its default. Made by: velro-auth config example\n"]
    for spec in specs():
        also = "".join(f" Also read: {alias}." for alias in spec.metadata["aliases"])
        lines.append(f"\n# {spec.metadata['doc']}{also}\n#{spec.metadata['variable']}={shown(defaults, spec)}\n")
    return "".join(lines)


@config.command()
def reference() -> None:
    """Print ``docs/reference/settings.md``."""
    print(table(), end="")


def table() -> str:
    """Return the reference page of all settings."""
    defaults = Settings()
    rows = []
    for spec in specs():
        also = "".join(f" (also `{name}`)" for name in spec.metadata["aliases"])
        default = f"`{value}`" if (value := shown(defaults, spec)) else "none"
        takes = "SIGHUP" if spec.metadata["at_run_time"] else "restart"
        rows.append(f"| `{spec.metadata['variable']}`{also} | {default} | {takes} | {spec.metadata['doc']} |\n")
    head = (
        "# Settings\n\nAll of them are environment variables, or lines of the file that `AUTH_ENV_FILE` names. The"
        " third column says what a new value takes: a SIGHUP, or a restart ([how](../how-to/change-settings.md)). Made"
        " by: `velro-auth config reference`.\n\n| variable | default | takes | |\n| --- | --- | --- | --- |\n"
    )
    return head + "".join(rows)


@config.command()
@click.pass_context
def commands(context: click.Context) -> None:
    """Print ``docs/reference/command-line.md``."""
    from velro_auth.ops.cli.command_page import command_page  # noqa: PLC0415 - imports every command

    print(command_page(context.find_root().command), end="")
