"""Calls the application and writes its response as bytes.

A response is sent in one piece, so the whole body is known before the head is written. It needs no chunks. If the
application fails in the middle of a body, the client gets a 500.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from operator import is_
from typing import TYPE_CHECKING, Any, Final

from velro_auth.context import REPEATED, RepeatedFields

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Fields = list[tuple[str, str]]

#: Fields that only the server writes: of the connection (RFC 9110, 7.6.1), of the framing, and its own.
_SERVER_FIELDS: Final = frozenset(
    {
        *("connection", "date", "keep-alive", "proxy-authenticate", "proxy-authorization", "server", "te"),
        *("trailers", "transfer-encoding", "upgrade"),
    }
)
_is_token: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
#: RFC 9110, 5.5: printable ASCII, tabs and bytes above it. A line break would split the response.
_is_value: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
#: Several values, with a line break between two of them.
_are_values: Final = re.compile(r"[\t\n\x20-\x7e\x80-\xff]*").fullmatch
_is_length: Final = re.compile(r"[0-9]{1,18}").fullmatch
_is_status: Final = re.compile(r"[0-9]{3}(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch
#: Statuses without a body and without a length (RFC 9110, 8.6); a 304 may have a length.
_NO_LENGTH: Final = frozenset({"204", *(str(status) for status in range(100, 200))})


def respond(app: WSGIApplication, environ: WSGIEnvironment, *, keep: bool, server: str = "") -> tuple[bytes, bool]:
    """Call the application; return the bytes of the response, and whether the connection may be kept.

    Args:
        app: The application.
        environ: The environment of the request.
        keep: Whether the connection may be kept as far as the request is concerned.
        server: The line of the ``Server`` field; empty for none.

    Raises:
        Exception: Any error of the application.
        ValueError: The status, or a header field, is malformed and could split the response.
    """
    started: list[tuple[str, Fields]] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: Fields, exc_info: Any = None) -> Callable[[bytes], object]:
        if started and not exc_info:
            raise AssertionError("start_response was called twice")
        started[:] = [(status, headers)]
        return parts.append

    answer = app(environ, start_response)
    try:
        parts.extend(answer)
    finally:
        if close := getattr(answer, "close", None):
            close()
    ((status, headers),) = started
    return _written(environ, status, headers, b"".join(parts), keep=keep, server=server)


def _written(
    environ: WSGIEnvironment, status: str, headers: Fields, body: bytes, *, keep: bool, server: str
) -> tuple[bytes, bool]:
    if not _is_status(status):
        raise ValueError("invalid status")
    code, is_head = status[:3], environ["REQUEST_METHOD"] == "HEAD"
    lines, length = _checked(headers) if code in _NO_LENGTH else _lines(environ, headers)
    if code in _NO_LENGTH:
        lines, length, body = [line for line in lines if not line.lower().startswith("content-length:")], 0, b""
    elif is_head or code == "304":
        body, length = b"", 0
    elif length is None:
        length = len(body)
        lines.append(f"Content-Length: {length}\r\n")
    # A body that is shorter than it says cannot be followed by another response.
    keep = keep and len(body) >= (length or 0)
    return (
        f"{environ['SERVER_PROTOCOL']} {status}\r\n{server}Date: {_date(int(time.time()))}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n{''.join(lines)}\r\n"
    ).encode("latin-1") + body[:length], keep


def _lines(environ: WSGIEnvironment, headers: Fields) -> tuple[list[str], int | None]:
    """Return what :func:`_checked` returns; raises as it does.

    Fields that earlier responses had are not checked and written again, if the application says so and they are the
    very same objects.
    """
    repeated: RepeatedFields | None = environ.get(REPEATED)
    if repeated is None or len(headers) < len(repeated.fields) or not all(map(is_, headers, repeated.fields)):
        return _checked(headers)
    if repeated.written is None:
        lines, length = _checked(list(repeated.fields))
        repeated.written = "".join(lines), length
    text, length = repeated.written
    lines, own_length = _checked(headers[len(repeated.fields) :])
    if own_length is not None:
        raise ValueError("invalid length")
    return [text, *lines], length


def _checked(headers: Fields) -> tuple[list[str], int | None]:
    """Return the lines of the header fields that are sent, and the length that the application says.

    Raises:
        ValueError: A field is malformed and could split the response.
        TypeError: A field is no string.
    """
    names = tuple([name for name, _ in headers])
    values = [value for _, value in headers]
    # One pattern over all values: a pattern for each of twenty fields takes as long as the rest of a short response.
    together = "\n".join(values)
    if not _are_values(together) or (headers and together.count("\n") != len(headers) - 1):
        # The name only: the value may be a secret.
        raise ValueError(f"invalid header field {next(name for name, value in headers if not _is_value(value))!r}")
    whole = f"\n{together}\n"
    if "\n " in whole or " \n" in whole or "\t" in whole:
        values = [value.strip(" \t") for value in values]
    beginnings, lengths = _beginnings(names)
    lines = [f"{begins}{value}\r\n" for begins, value in zip(beginnings, values, strict=True) if begins]
    if not lengths:
        return lines, None
    length = values[lengths[0]]
    if len(lengths) > 1 or not _is_length(length):
        raise ValueError("invalid length")
    return lines, int(length)


@functools.lru_cache(maxsize=256)
def _beginnings(names: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """Return how the line of each field begins, empty for one that is not sent, and which fields are the length.

    A service has few kinds of responses, and their names never vary. An exception is not remembered.

    Raises:
        ValueError: A name is malformed and could split the response.
    """
    for name in names:
        if not _is_token(name):
            raise ValueError(f"invalid header field {name!r}")
    lower = [name.lower() for name in names]
    beginnings = [f"{name}: " if low not in _SERVER_FIELDS else "" for name, low in zip(names, lower, strict=True)]
    return beginnings, [at for at, name in enumerate(lower) if name == "content-length"]


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
