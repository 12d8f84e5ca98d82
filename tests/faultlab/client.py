"""The clients of the lab: they ask, note the time, and look at every answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LOGIN: Final = "/api/v1/auth/login"
REFRESH: Final = "/api/v1/auth/refresh"
LOGOUT: Final = "/api/v1/auth/logout"
VERIFY: Final = "/api/v1/auth/verify"
ME: Final = "/api/v1/auth/me"
JSON: Final = {"Content-Type": "application/json"}
TIMEOUT_S: Final = 20.0


@dataclass(slots=True)
class Reply:
    """One answer, or why there is none.

    Attributes:
        status: HTTP status; 0 without an answer.
        headers: Names in lower case; several fields of one name are joined by a line feed.
        body: The body.
        took_s: Seconds from when the request was due to the end of the answer.
        at_s: When it was due, on the monotonic clock.
        failure: Why there is no answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float
    at_s: float = 0.0
    failure: str = ""

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self) -> str:
        """The error's code, empty for a success."""
        told = self.json if self.status >= 400 else None
        return str(told.get("code", "")) if isinstance(told, dict) else ""

    @property
    def retry_after(self) -> str:
        """What ``Retry-After`` says."""
        return self.headers.get("retry-after", "")


#: Says what is wrong with an answer to a method and a path; empty if nothing is.
Examine = Callable[[str, str, Reply], str]


@dataclass
class Ledger:
    """Every answer that a client of the lab got, counted; a sample of what was wrong with them."""

    examine: Examine
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    wrong_count: int = 0
    secrets: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, method: str, path: str, reply: Reply) -> None:
        """Count one answer and look at it."""
        complaint = self.examine(method, path, reply) if reply.status else ""
        with self._lock:
            self.statuses[reply.status] += 1
            if complaint:
                self.wrong_count += 1
                self.wrong.append(f"{method} {path} {reply.status}: {complaint}")
            if reply.status == 200 and b'"refresh_token"' in reply.body and isinstance(told := reply.json, dict):
                self.secrets |= {str(told[name]) for name in ("access_token", "refresh_token") if name in told}


class Client:
    """Asks one server over kept connections; safe for any number of threads.

    Args:
        port: Where the server listens, on loopback.
        ledger: Told of every answer; None for no one.
        source: The address of this machine to call from; any if empty.
        keeps: Whether connections are kept; else each request has its own.
    """

    def __init__(self, port: int, ledger: Ledger | None = None, *, source: str = "", keeps: bool = True) -> None:
        self.port = port
        self._keeps = keeps
        self._source = (source, 0) if source else None
        self._ledger = ledger
        self._idle: list[http.client.HTTPConnection] = []

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        address: str = "",
        due_s: float | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Send one request; never raises for what a network does.

        Args:
            method: GET, POST and so on.
            path: With the query.
            body: Bytes as they are, anything else as JSON; None for none.
            headers: Further fields.
            address: Whom the request comes from, as the platform's edge says it.
            due_s: When it was due, on the monotonic clock; now if None.
            timeout_s: Of each read.
        """
        sent = {**JSON, **({"X-Real-IP": address} if address else {}), **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        due_s = time.monotonic() if due_s is None else due_s
        reply = self._send(method, path, data, sent, timeout_s)
        reply.at_s, reply.took_s = due_s, time.monotonic() - due_s
        if self._ledger is not None:
            self._ledger.note(method, path, reply)
        return reply

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    def _send(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], timeout_s: float) -> Reply:
        connection = self._connection(timeout_s)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # A server may answer and close before it has read the whole body.
                connection.request(method, path, data, dict(headers))
            answer = connection.getresponse()
            fields: dict[str, str] = {}
            for name, value in answer.getheaders():
                key = name.lower()
                fields[key] = f"{fields[key]}\n{value}" if key in fields else value
            reply = Reply(answer.status, fields, answer.read(), 0.0)
        except TimeoutError:
            connection.close()
            return Reply(0, {}, b"", 0.0, failure="timeout")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Reply(0, {}, b"", 0.0, failure=type(error).__name__)
        if answer.will_close or not self._keeps:
            connection.close()
        else:
            self._idle.append(connection)
        return reply

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a kept connection that the server has not closed, or a new one. No request is sent twice."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout_s)
                return connection
            connection.close()
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s, source_address=self._source)
