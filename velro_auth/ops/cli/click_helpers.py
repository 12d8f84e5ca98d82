"""Options, parameter types and error handling that several commands share."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])

#: Columns of a table that is printed to a file or a log.
LOG_WIDTH: Final = 120


class Duration(click.ParamType[float]):
    """A duration: ``90``, ``90s``, ``30m``, ``24h``, ``7d``."""

    name = "TIME"
    _UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the duration in seconds."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(value))
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is no time: write 90, 30m, 24h or 7d", param, ctx)
        return float(found[1]) * self._UNITS[found[2]]


def address(_: click.Context, __: click.Parameter, url: str) -> str:
    """Check an address. It is written to files, so it must not contain a password; error messages do not repeat it."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise click.BadParameter("it is no address: write http(s)://host[:port]") from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise click.BadParameter("write http(s)://host[:port]")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise click.BadParameter("without a path: write http(s)://host[:port]")
    return f"{parts.scheme}://{parts.netloc}"


def address_or_none(context: click.Context, parameter: click.Parameter, url: str) -> str:
    """Check an optional address."""
    return address(context, parameter, url) if url else ""


def console(*, stderr: bool = False, wide: bool = False) -> Console:
    """Return where a command prints text that may be coloured.

    *stderr* is for remarks beside a result. *wide* is for tables: 120 columns where the output is no terminal.
    """
    stream = sys.stderr if stderr else sys.stdout
    root = context.find_root() if (context := click.get_current_context(silent=True)) else None
    return Console(
        highlight=False,
        stderr=stderr,
        soft_wrap=not wide,
        width=LOG_WIDTH if wide and not stream.isatty() else None,
        # Rich itself looks at NO_COLOR.
        no_color=True if root is not None and root.color is False else None,
    )


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that a command works, while the block runs; only on a terminal, on standard error."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(f"{what} …"):
        yield


def option(*names: str, **how: Any) -> Callable[[Command], Command]:
    """Return click's option, whose help shows its default and its variable."""
    return click.option(*names, show_default=how.get("default") not in {None, ""}, show_envvar=True, **how)


#: ``--json`` of a command that reports: the parameter is ``as_json``.
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: Any) -> None:
    """Print what a command found, for programs."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_found(document: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print what a command found, as one document for programs or as lines for people."""
    if as_json:
        print_json(document)
    else:
        for line in lines:
            click.echo(line)


url_option = option("--url", default="http://127.0.0.1:8000", callback=address, help="Address of the service.")

password_option = option(
    "--password",
    envvar="AUTH_BENCH_PASSWORD",
    help="Its password. Better in the variable: every user of a machine sees its command lines.",
)


database_option = option(
    "--database-url", envvar="DATABASE_URL", default="", help="The database, as the role postgres."
)


def password_or_prompt(given: str | None) -> str:
    """Return the password of ``--email``: the given one, or one typed at the terminal.

    Raises:
        click.UsageError: No password was given, and there is no terminal.
    """
    if given:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("The password of --email is missing: set AUTH_BENCH_PASSWORD.")
    return str(click.prompt("Password", hide_input=True, err=True))


def warn(message: str) -> None:
    """Print a warning to standard error."""
    click.echo(f"warning: {message}", err=True)
