"""One request and its answer: always an answer or the class of what went wrong, within a limit, never an exception."""

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
from velro_auth.upstream.transport.connections import Adapter

_MAX_BODY_BYTES: Final = 256 * 1024
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Foreign failure → class; the first row that fits anything in the chain of causes decides.
_CLASSES: Final[tuple[tuple[Failure, tuple[type[BaseException], ...]], ...]] = (
    ("dns", (urllib3.exceptions.NameResolutionError, socket.gaierror)),
    ("dns", (urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL, UnicodeError)),
    ("tls", (ssl.SSLError, urllib3.exceptions.SSLError, requests.exceptions.SSLError)),
    # Some of the next are timeouts by inheritance, for history's sake.
    ("connection", (urllib3.exceptions.NewConnectionError, http.client.RemoteDisconnected)),
    ("timeout", (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)),
    ("garbage", (http.client.HTTPException, urllib3.exceptions.DecodeError, ValueError)),
    ("connection", (BaseException,)),
)


@dataclass(frozen=True, slots=True, repr=False)
class Heard:
    """What came back. Not printable: the body of a login holds tokens.

    Attributes:
        status: HTTP status; None when there was no whole answer.
        failure: Why there was none.
        headers: Looked up without regard to case.
        body: The JSON object of the answer; empty when it is none.
    """

    status: int | None
    failure: Failure
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The error's code, if the answer has one; nothing else a stranger may have written there."""
        code = self.body.get("code")
        return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


class Wire:
    """Sends requests to one address, each on a connection of its own. Safe for any number of threads.

    A kept connection would hide that no new one can be opened, and be closed by the other side now and then just
    when it is used again. So a name is looked up and a connection opened each time, and both are part of the time.

    Args:
        url: Address of the service, without a path.
        timeout_s: Limit for one answer, from the look-up of the name to the last byte.
        tls: What https trusts; the usual authorities when None.
    """

    def __init__(self, url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        if tls is None and self._url.startswith("https:"):
            tls = ssl.create_default_context(cafile=certifi.where())
        self._tls = tls

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Heard:
        """Send one request and return what came back."""
        request = requests.PreparedRequest()
        headers = {"User-Agent": f"velro-auth-monitor/{__version__}", "Connection": "close"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        limits = Timeout(connect=self._timeout_s, total=self._timeout_s)
        adapter = Adapter(pool_size=1, tls=self._tls)
        try:
            request.prepare(method=method, url=self._url + path, headers=headers, json=body)
            response = adapter.send(request, stream=True, timeout=limits)  # type: ignore[arg-type] # typeshed
            try:
                text = response.raw.read(_MAX_BODY_BYTES, decode_content=True)
            finally:
                response.raw.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Heard(None, failure_of(error), {}, {})
        finally:
            # Whether or not the other side closes, too.
            adapter.close()
        return Heard(response.status_code, "", response.headers, _object(text))


def failure_of(error: BaseException) -> Failure:
    """Return the class of a foreign failure."""
    chain = tuple(_chain(error))
    return next(name for name, kinds in _CLASSES if any(isinstance(link, kinds) for link in chain))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it wraps: requests and urllib3 hide the cause in arguments and ``reason``."""
    yield error
    inner = [*error.args, getattr(error, "reason", None)]
    for link in inner:
        if isinstance(link, BaseException) and link is not error:
            yield from _chain(link)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
