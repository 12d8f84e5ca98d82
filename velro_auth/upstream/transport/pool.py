"""The idle connections to one server: which one is used next, and which one is never used again.

An answer belongs to a request only by its position on the connection. Bytes that arrive outside an exchange (a second
copy of an answer, a late answer) would be read as the answer to the next request, which another user may have sent.
Therefore a connection is closed when bytes follow the end of an answer, or arrive while the connection is idle.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

from urllib3.connection import port_by_scheme
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.response import HTTPResponse
from urllib3.util import Timeout

from velro_auth.errors import WrongAnswer
from velro_auth.upstream.transport.connection import Connection
from velro_auth.upstream.transport.resolver import Resolver

logger = logging.getLogger("velro_auth.upstream")

#: The first quiet period: twice the longest delay of a second copy that was measured (50 ms).
SHORTEST_QUIET_S: Final = 0.1
LONGEST_QUIET_S: Final = 2.0
#: How long unexpected bytes are remembered.
REMEMBERED_FOR_S: Final = 600.0


class QuietPeriod:
    """How long a connection must have been idle before it is used again.

    0 while no unexpected bytes arrive. After the first ones, connections stay idle between two requests, so that a
    second copy of an answer arrives in this time and is noticed.

    Args:
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._required_s = 0.0
        self._until_s = 0.0

    @property
    def required_s(self) -> float:
        """The current quiet period, in seconds."""
        with self._lock:
            return self._required_s if self._clock() < self._until_s else 0.0

    def extend(self, idle_s: float = 0.0) -> None:
        """Remember that unexpected bytes arrived.

        Args:
            idle_s: How long the connection had been idle before its last request; that was too short.
        """
        with self._lock:
            now_s = self._clock()
            before_s = self._required_s if now_s < self._until_s else 0.0
            self._required_s = min(LONGEST_QUIET_S, max(SHORTEST_QUIET_S, before_s, 2 * idle_s))
            self._until_s = now_s + REMEMBERED_FOR_S
        if not before_s:
            logger.warning("Supabase's side sends answers that were not asked for", extra={"rest_s": self._required_s})


class Exchange:
    """An answer, and the connection it arrives on. Within its ``with`` block the connection is used for nothing else.

    After the block the connection goes back to its pool if the answer was read to its end and the block raised
    nothing. Otherwise it is closed: the right answer may still arrive on it.

    Args:
        response: The answer.
        pool: The pool of the connection; None where ``responses`` replaces the network in a test.
        connection: The connection.
    """

    def __init__(
        self, response: HTTPResponse, pool: ConnectionPool | None = None, connection: Connection | None = None
    ) -> None:
        self.response = response
        self._pool = pool
        self._connection = connection

    def read(self, max_bytes: int) -> bytes:
        """Return the body, decompressed, but not more than *max_bytes* of it."""
        return self.response.read(max_bytes, decode_content=True)

    def __enter__(self) -> Self:
        """Keep the connection."""
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Give the connection back, or close it."""
        if self._pool is not None and self._connection is not None:
            if isinstance(error, WrongAnswer):
                self._pool.quiet_period.extend(self._connection.idle_before_s)
            is_whole = self.response.isclosed()
            self._pool.release(self._connection, is_usable=error is None and is_whole)
            if not is_whole:
                self.response.close()


class ConnectionPool:
    """Keeps idle connections to one server. A request never waits for one: it opens a new connection instead.

    Args:
        origin: The server, such as ``https://project.supabase.co``.
        size: How many idle connections are kept.
        resolver: Resolves the server's name.
        tls: The TLS context for https.
        quiet_period: How long connections stay idle between two requests.
    """

    def __init__(
        self,
        origin: str,
        *,
        size: int,
        resolver: Resolver,
        tls: ssl.SSLContext | None = None,
        quiet_period: QuietPeriod | None = None,
    ) -> None:
        address = urlsplit(origin)
        self._host, self._port = address.hostname or "", address.port or port_by_scheme[address.scheme]
        self._size = size
        self._resolver = resolver
        self._tls = tls if address.scheme == "https" else None
        self.quiet_period = quiet_period or QuietPeriod()
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        weakref.finalize(self, _close_all, self._idle)

    def urlopen(
        self, method: str, url: str, *, body: bytes | None, headers: Mapping[str, str], timeout: Timeout, **_: Any
    ) -> Exchange:
        """Send a request and return the answer with its connection, as ``requests.adapters.HTTPAdapter`` expects it.

        Raises:
            urllib3.exceptions.HTTPError: There is no answer.
        """
        ends_s = time.monotonic() + cast("float", timeout.total)
        connect_timeout_s = cast("float", timeout.connect_timeout)
        connection, is_usable = self.take(), False
        try:
            response = connection.exchange(
                method, url, body, headers, connect_timeout_s=connect_timeout_s, ends_s=ends_s
            )
            is_usable = True
        except TimeoutError as error:
            raise ReadTimeoutError(self, url, "Read timed out.") from error  # type: ignore[arg-type] # for its text
        except (ConnectTimeoutError, NewConnectionError) as error:
            raise MaxRetryError(self, url, error) from error  # type: ignore[arg-type] # for its text
        except ssl.SSLError as error:
            raise SSLError(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError("Connection aborted.", error) from error
        finally:
            if not is_usable:
                self.release(connection, is_usable=False)
        return Exchange(response, self, connection)

    def take(self) -> Connection:
        """Return an idle connection that is still open and silent, or a new one."""
        with self._lock:
            connection = self._next()
        if connection is not None:
            if not connection.received_unexpected_bytes() and connection.is_connected:
                return connection
            self.release(connection, is_usable=False)
        return self.new()

    def _next(self) -> Connection | None:
        """Take the connection that was used last or, while a quiet period is required, was idle for longest."""
        quiet_s = self.quiet_period.required_s
        if not self._idle or not quiet_s:
            return self._idle.pop() if self._idle else None
        # If none has been idle for long enough, a new one is opened; a full pool closes its oldest one for that.
        is_rested = self._idle[0].used_s <= time.monotonic() - quiet_s
        if is_rested or self.is_full:
            connection = self._idle.pop(0)
            if is_rested:
                return connection
            connection.close()
        return None

    @property
    def is_full(self) -> bool:
        """Whether it keeps no more idle connections."""
        return len(self._idle) >= self._size

    def new(self) -> Connection:
        """Return a connection that is not open yet."""
        return Connection(self._host, self._port, resolver=self._resolver, tls=self._tls)

    def release(self, connection: Connection, *, is_usable: bool) -> None:
        """Keep a connection for the next request, or close it.

        Args:
            connection: The connection.
            is_usable: Whether its last answer was read to its end, and was accepted.
        """
        if connection.has_unexpected_bytes or (is_usable and connection.has_leftover):
            self.quiet_period.extend()
        elif is_usable and connection.sock is not None:
            with self._lock:
                if not self.is_full:
                    self._idle.append(connection)
                    return
        connection.close()

    def idle(self) -> tuple[Connection, ...]:
        """Return the idle connections, the one idle for longest first."""
        with self._lock:
            return tuple(self._idle)

    def remove(self, connection: Connection) -> bool:
        """Take an idle connection out of the pool; False when another thread took it before."""
        with self._lock, contextlib.suppress(ValueError):
            self._idle.remove(connection)
            return True
        return False

    def discard(self, connection: Connection) -> None:
        """Close an idle connection, unless another thread uses it."""
        if self.remove(connection):
            connection.close()

    def close_idle(self) -> None:
        """Close all idle connections."""
        for connection in self.idle():
            self.discard(connection)

    def close(self) -> None:
        """Close all idle connections, and keep none from now on."""
        self._size = 0
        self.close_idle()


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
