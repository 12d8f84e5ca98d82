"""Addresses that a flow may lead to: ``redirect_to`` must match the operator's list, or the request is refused.

An address is compared by its parts, never as a text. What two parsers could read differently is refused: white space,
control characters, backslashes, users, dot segments, encoded slashes, fragments (WHATWG URL and RFC 3986 differ there).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from velro_auth.web.origins import normal_origin

#: Longest address that is looked at; the whole request has a larger limit.
MAX_LENGTH: Final = 2048

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

#: Characters of RFC 3986, without those that begin a user (``@`` in the authority is looked for separately).
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+", re.ASCII)
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*", re.ASCII)
_NOT_AN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class AllowedRedirect:
    """One entry of the list.

    Attributes:
        origin: In the form that browsers send; its port is ``*`` for a page of this machine on any port.
        path: An address must have this path, or a path below it; empty for every path.
    """

    origin: str
    path: str = ""

    def allows(self, origin: str, path: str) -> bool:
        """Return whether an address with this origin and path is meant."""
        if self.origin != origin and not (self.origin.endswith(":*") and self._on_any_port(origin)):
            return False
        bare = self.path.rstrip("/")
        return not bare or path in {self.path, bare} or path.startswith(f"{bare}/")

    def _on_any_port(self, origin: str) -> bool:
        return re.sub(r":\d+$", "", origin) == self.origin.removesuffix(":*")

    def __str__(self) -> str:
        """Return the entry as an operator writes it."""
        return self.origin + self.path


def allowed_redirect(text: str) -> AllowedRedirect:
    """Convert an entry of the setting.

    Raises:
        ValueError: It would match nothing, or too much; the message says what to write.
    """
    scheme, separator, rest = text.strip().partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or "?" in rest or "#" in rest:
        raise ValueError(f"{text!r} is not an address: write https://app.example.com or https://app.example.com/path/")
    if scheme.lower() not in {"http", "https"} and not slash:
        # Apps on phones: the host of an address such as myapp://callback is all there is.
        path = ""
    origin = normal_origin(f"{scheme}://{authority}")
    host, _, port = origin.partition("://")[2].rpartition(":")
    if "*" in origin and not (port == "*" and host in _LOOPBACK):
        raise ValueError(f"{text!r}: only addresses of this machine may have a '*', for their port: name each origin")
    if slash and path and not _is_clean(f"/{path}"):
        raise ValueError(f"{text!r} has a path that no address has: write it without dots, escapes and spaces")
    return AllowedRedirect(origin, f"/{path}" if path else "")


def is_allowed(address: str, allowed: Iterable[AllowedRedirect]) -> bool:
    """Return whether a flow may lead to *address*."""
    parts = _parsed(address)
    if parts is None:
        return False
    try:
        origin = normal_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return False
    if "*" in origin:
        return False
    path = parts.path
    return any(entry.allows(origin, path) for entry in allowed)


def is_address(address: str) -> bool:
    """Return whether *address* is that of a web page, and all programs read it alike."""
    parts = _parsed(address)
    if parts is None or "#" in address:
        return False
    try:
        origin = normal_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return False
    return "*" not in origin and origin.startswith(("http://", "https://"))


def is_allowed_in_mail(address: str, allowed: Iterable[AllowedRedirect]) -> bool:
    """Return whether the link of a mail may lead to *address*: as :func:`is_allowed`, and it has no query.

    The templates of mails append a query, ``?token_hash=…``. If *address* had a query, the hash would be part of its
    last value: a page that leads on to ``?next=https://evil.example/`` would give the link to that host.
    """
    return "?" not in address and is_allowed(address, allowed)


def is_own_path(address: str) -> bool:
    """Return whether *address* is a path of this service, with a query or without, and never another host."""
    # After a host no browser can read two slashes, or a backslash, as the beginning of another host.
    return address.startswith("/") and _parsed(f"https://own.invalid{address}") is not None


def _parsed(address: str) -> SplitResult | None:
    if len(address) > MAX_LENGTH or not _PLAIN.fullmatch(address) or _NOT_AN_ESCAPE.search(address):
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]+.*", address) or "@" in parts.netloc or "%" in parts.netloc:
        return None
    # Some parsers take what stands before the @ for a user, when no path comes before it.
    has_user = not parts.path and "@" in parts.query
    return parts if _is_clean(parts.path) and not has_user else None


def _is_clean(path: str) -> bool:
    """Return whether all servers and browsers read *path* alike: no escape, no dot segment, no empty segment."""
    if not _PATH.fullmatch(path) or "//" in path:
        return False
    # Some servers remove what follows a semicolon, and then resolve the dots.
    return not any(segment.partition(";")[0] in {".", ".."} for segment in path.split("/"))


def is_page_load(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser loads a page with this request, so that a redirect is of use to it."""
    return environ.get("HTTP_SEC_FETCH_MODE") == "navigate" or "text/html" in environ.get("HTTP_ACCEPT", "").lower()
