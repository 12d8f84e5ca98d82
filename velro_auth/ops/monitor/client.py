"""The HTTP client of the monitor: returns an answer or the class of the failure, within a time limit; never raises."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import certifi
import requests
import urllib3.exceptions
from urllib3.util import Timeout

from velro_auth import __version__
from velro_auth.ops.monitor.observation import Failure
from velro_auth.upstream.transport.transport import Adapter

_MAX_BODY_BYTES: Final = 256 * 1024
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Failure → exception types. The first row decides that matches the exception or one of its causes.
_FAILURES: Final[tuple[tuple[Failure, tuple[type[BaseException], ...]], ...]] = (
    ("dns", (urllib3.exceptions.NameResolutionError, socket.gaierror)),
    ("dns", (urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL, UnicodeError)),
    ("tls", (ssl.SSLError, urllib3.exceptions.SSLError, requests.exceptions.SSLError)),
    # Before the timeouts, because some of these are subclasses of a timeout.
    ("connection", (urllib3.exceptions.NewConnectionError, http.client.RemoteDisconnected)),
    ("timeout", (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)),
    ("garbage", (http.client.HTTPException, urllib3.exceptions.DecodeError, ValueError)),
    ("connection", (BaseException,)),
)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An HTTP answer. Not printable, because the body of a login contains tokens.

    Attributes:
        status: HTTP status; None without a complete answer.
        failure: Why there was none.
        headers: Case-insensitive.
        body: The JSON object in the body; empty if there is none.
    """

    status: int | None
    failure: Failure
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The error's code, if the answer contains a well-formed one."""
        code = self.body.get("code")
        return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


class Client:
    """Sends requests to one address, each on a new connection. Thread-safe.

    A persistent connection would hide that no new one can be opened, and the server may close it just when it is used
    again. So each request includes the DNS look-up and the connect, and both are part of the time.

    *timeout_s* lasts from the DNS look-up to the last byte. Without *tls* the usual authorities are trusted.
    """

    def __init__(self, url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        if tls is None and self._url.startswith("https:"):
            tls = ssl.create_default_context(cafile=certifi.where())
        self._tls = tls

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Answer:
        """Send one request and return the answer."""
        request = requests.PreparedRequest()
        headers = {"User-Agent": f"velro-auth-monitor/{__version__}", "Connection": "close"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        limits = Timeout(connect=self._timeout_s, total=self._timeout_s)
        adapter = Adapter(pool_size=1, tls=self._tls)
        try:
            request.prepare(method=method, url=self._url + path, headers=headers, json=body)
            response = adapter.send(request, stream=True, timeout=limits)  # type: ignore[arg-type] # typeshed
            with response.raw as exchange:
                text = exchange.read(_MAX_BODY_BYTES)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Answer(None, failure_of(error), {}, {})
        finally:
            # Closes the connection even if the server keeps it open.
            adapter.close()
        return Answer(response.status_code, "", response.headers, _object(text))


def failure_of(error: BaseException) -> Failure:
    """Return the class of an exception."""
    chain = tuple(_causes(error))
    return next(name for name, types in _FAILURES if any(isinstance(link, types) for link in chain))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes; requests and urllib3 hide them in arguments and ``reason``."""
    yield error
    for link in [*error.args, getattr(error, "reason", None)]:
        if isinstance(link, BaseException) and link is not error:
            yield from _causes(link)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
