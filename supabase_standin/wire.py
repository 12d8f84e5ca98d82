"""Requests and answers as they travel: bytes, headers, and the WSGI call in between."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

#: Answers to these have no body and no length (RFC 9110, 6.4.1).
BODILESS: Final = frozenset((204, 304))


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request that arrived.

    Attributes:
        method: GET, POST and so on.
        path: The path, without the query.
        query: The query, without the question mark.
        headers: All headers; look-up ignores case.
        body: The whole body.
        address: The other end of the connection.
        nth: The how manieth request of its connection this is, from 1.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes = field(repr=False)
    address: str
    nth: int = 1

    @property
    def is_reused(self) -> bool:
        """Tell whether the connection has served before."""
        return self.nth > 1

    def environ(self) -> WSGIEnvironment:
        """Return this request as WSGI wants it."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.path).decode("latin-1"),
            "QUERY_STRING": self.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(self.body)),
            "SERVER_NAME": "standin",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.address,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.input_terminated": True,  # also where it came in chunks
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        names = {name.lower() for name, _ in self.headers}
        for name in names - {"content-type", "content-length"}:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = ", ".join(self.headers.getlist(name))
        return environ


@dataclass(frozen=True, kw_only=True)
class Trickle:
    """How slowly an answer is sent, for clients whose timeout starts anew with every byte.

    Attributes:
        interval_s: Between two bytes.
        body_only: Whether status line and headers go out at once.
    """

    interval_s: float
    body_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to be sent.

    Attributes:
        status: The HTTP status.
        headers: Without length and date, which are added.
        body: The whole body.
        length: What Content-Length claims; None tells the truth.
        trickle: How slowly to send; None sends at once.
        closes: Whether the connection ends with it.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int | None = None
    trickle: Trickle | None = None
    closes: bool = False

    def head(self) -> bytes:
        """Return status line and headers."""
        reason = HTTPStatus(self.status).phrase if self.status in _PHRASED else "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() != "content-length"]
        if self.status not in BODILESS:
            lines.append(f"Content-Length: {len(self.body) if self.length is None else self.length}")
        if self.closes:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


_PHRASED: Final = frozenset(int(status) for status in HTTPStatus)


def ask(app: WSGIApplication, request: Received) -> Answer:
    """Return what *app* answers to *request*."""
    chunks, status, headers = run_wsgi_app(app, request.environ(), buffered=True)
    code = int(status.split()[0])
    return Answer(status=code, headers=tuple(headers.items()), body=b"".join(chunks))


class RequestLog:
    """The requests that arrived, oldest first; the oldest are forgotten.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Received] = deque(maxlen=size)

    def add(self, request: Received) -> None:
        """Remember *request*."""
        with self._lock:
            self._kept.append(request)

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._kept.clear()

    def of(self, path: str) -> list[Received]:
        """Return the requests to *path*, oldest first."""
        return [request for request in self if request.path == path]

    def __iter__(self) -> Iterator[Received]:
        """Iterate over a copy, so that more may arrive meanwhile."""
        with self._lock:
            return iter(list(self._kept))

    def __len__(self) -> int:
        """Return how many are kept."""
        with self._lock:
            return len(self._kept)

    def __getitem__(self, index: int) -> Received:
        """Return one of them, -1 for the latest."""
        with self._lock:
            return self._kept[index]
