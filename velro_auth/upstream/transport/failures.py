"""Turns what ``requests``, urllib3 and sockets raise into our errors."""

from __future__ import annotations

import errno
from typing import Any, Final

import requests
import urllib3.exceptions

from velro_auth.errors import UpstreamTimeout, UpstreamUnavailable, VelroAuthError
from velro_auth.upstream.transport.connection import StaleConnection

#: What ``requests`` and the body reader raise. ``OSError`` is their common root for sockets and TLS.
FOREIGN: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)

#: Foreign error → ours; the first match counts. A connection that could not be opened is no slow answer.
_FAILURES: Final[tuple[tuple[type[Exception], type[VelroAuthError]], ...]] = (
    (requests.exceptions.ConnectTimeout, UpstreamUnavailable),
    (requests.exceptions.ReadTimeout, UpstreamTimeout),
    (urllib3.exceptions.ReadTimeoutError, UpstreamTimeout),
    (TimeoutError, UpstreamTimeout),
    (Exception, UpstreamUnavailable),
)


def failure(error: Exception) -> VelroAuthError:
    """Return our error for one of ``FOREIGN``."""
    kind = next(ours for theirs, ours in _FAILURES if isinstance(error, theirs))
    return kind(f"{type(error).__name__}: {_cause(error)}")


def _cause(error: BaseException) -> str:
    """Return the name of the innermost exception. Its text is left out: it may quote what the server sent."""
    while True:
        inner: Any = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    number = error.errno if isinstance(error, OSError) else None
    return type(error).__name__ + (f" {errno.errorcode.get(number, number)}" if number else "")


def is_stale(error: requests.ConnectionError) -> bool:
    """Return whether a reused connection failed before the first byte of an answer."""
    return bool(error.args) and isinstance(error.args[0], StaleConnection)
