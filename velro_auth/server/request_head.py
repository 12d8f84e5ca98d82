"""Rules for the head of a request: settings of the parser, names of header fields, and forms of the target."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Largest head, and most that chunk sizes, chunk extensions and trailers may add to a body.
HEAD_BYTES: Final = 64 * 1024
#: Largest value of a header field, and of the fields that hold tokens. Supabase's tokens have 1 to 2 KiB, and more if
#: a project puts much into ``app_metadata``.
FIELD_BYTES: Final = 8 * 1024
TOKEN_FIELD_BYTES: Final = 16 * 1024
#: Largest body where the application names no limits.
DEFAULT_BODY_BYTES: Final = 8 * 1024 * 1024

#: (method, path) → largest body that the application reads there. The body of any other request is ignored.
BodyLimits = Mapping[tuple[str, str], int]

_TOKEN_FIELDS: Final = frozenset({b"authorization", b"cookie"})
#: WSGI gives these two names no ``HTTP_`` prefix.
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
#: Fields that have one value (RFC 9110, 5.3). llhttp refuses a second length and coding.
_SINGLE: Final = frozenset({"HTTP_HOST", "CONTENT_TYPE"})


class ParserSettings:
    """The values that all connections of a worker share.

    Args:
        cfg: gunicorn's settings.
        probe_paths: Exact paths that may be answered on the main thread.
        body_limits: Returns which requests have their body read, and how much of it; None when that is unknown.
    """

    def __init__(
        self, cfg: Any, probe_paths: Collection[str] = (), body_limits: Callable[[], BodyLimits | None] = lambda: None
    ) -> None:
        self.probe_paths = frozenset(probe_paths)
        self.line_bytes: int = cfg.limit_request_line or HEAD_BYTES
        self.max_fields: int = cfg.limit_request_fields
        self.secure_schemes = {key_of(name.encode()): value for name, value in cfg.secure_scheme_headers.items()}
        self.single_fields = _SINGLE | self.secure_schemes.keys()
        self._body_limits = body_limits
        self._environ: WSGIEnvironment = {
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": cfg.workers > 1,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "SERVER_SOFTWARE": "gunicorn",
            "SCRIPT_NAME": "",
        }

    def environ_of(self, client: Any, server: Any) -> WSGIEnvironment:
        """Return the part of the environment that all requests of a connection share."""
        peer, own = (address if isinstance(address, tuple) else ("", 0) for address in (client, server))
        addresses = {"REMOTE_ADDR": peer[0], "REMOTE_PORT": str(peer[1])}
        return {**self._environ, **addresses, "SERVER_NAME": own[0], "SERVER_PORT": str(own[1])}

    def body_limit(self, method: str, path: str, *, is_origin_form: bool) -> int:
        """Return the largest body of a request; 0 when the application reads none."""
        limits = self._body_limits()
        if limits is None:
            return DEFAULT_BODY_BYTES
        if not is_origin_form:
            # The application may route another form of target in its own way.
            return max(limits.values(), default=0)
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]
        found = limits.get((method, path))
        return _limit_of_pattern(limits, method, path) if found is None else found


def _limit_of_pattern(limits: BodyLimits, method: str, path: str) -> int:
    """Return the limit of a path with placeholders, such as ``/factors/<factor_id>``, each for one segment."""
    return next(
        (
            limit
            for (wanted, pattern), limit in limits.items()
            if wanted == method and "<" in pattern and _compiled(pattern).fullmatch(path)
        ),
        0,
    )


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"<[a-z_]+>", pattern))))


def is_too_large(name: bytes, value: bytes) -> bool:
    """Whether a header field is larger than its limit."""
    limit = TOKEN_FIELD_BYTES if name.lower() in _TOKEN_FIELDS else FIELD_BYTES
    return len(value.rstrip(b" \t")) > limit or len(name) > FIELD_BYTES


def keeps_alive(options: str, version: str) -> bool:
    """Whether a connection may be kept, by the options of its ``Connection`` field, in lower case."""
    listed = {option.strip(" \t") for option in options.split(",")}
    return "close" not in listed and (version == "1.1" or "keep-alive" in listed)


@functools.lru_cache(maxsize=256)
def key_of(name: bytes) -> str:
    """Return the key of the field *name* in the environment; empty for a name that is dropped.

    Names with ``_`` are dropped: ``X_Real_IP`` would be read as ``X-Real-IP``.
    """
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in _UNPREFIXED else "HTTP_" + key


def split_target(method: bytes, url: bytes) -> tuple[str, str] | None:
    """Return path and query of a request target; None for one that is not answered (RFC 9112, 3.2)."""
    if method == b"CONNECT" or not url.isascii():
        return None
    target = url.decode("ascii")
    if target.startswith("/"):
        path, _, query = target.partition("#")[0].partition("?")
        return path, query
    if target == "*":
        return ("*", "") if method == b"OPTIONS" else None
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    return (parts.path, parts.query) if "://" in target else None
