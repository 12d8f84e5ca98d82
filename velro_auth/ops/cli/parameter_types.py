"""What options of several commands mean."""

from __future__ import annotations

import re
import sys
from typing import Any, Final
from urllib.parse import urlsplit

import click


class Span(click.ParamType[float]):
    """A stretch of time: ``90``, ``90s``, ``30m``, ``24h``, ``7d``."""

    name = "TIME"
    _UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number with a unit."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", str(value))
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is no time: write 90, 30m, 24h or 7d", param, ctx)
        return float(found[1]) * self._UNITS[found[2]]


def address(_: click.Context, __: click.Parameter, url: str) -> str:
    """Check an address. It is never repeated, and holds no password: it goes into files and onto terminals."""
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
    """Check an address that may be left out."""
    return address(context, parameter, url) if url else ""


def password_of_email(given: str | None) -> str:
    """Return the password of ``--email``: the one that was given, or asked for at a terminal.

    Raises:
        click.UsageError: There is neither.
    """
    if given:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("The password of --email is missing: set AUTH_BENCH_PASSWORD.")
    return str(click.prompt("Password", hide_input=True, err=True))
