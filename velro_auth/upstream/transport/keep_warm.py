"""Keeps connections to Supabase open ahead of the logins that will need them.

Opening one takes two round trips and a handshake: with 20 ms to Supabase, 50 ms more for a login (measured). The
first user after each quiet minute would wait for that.
"""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import urllib3.exceptions

from velro_auth.background import Background
from velro_auth.upstream.transport.connection import Connection
from velro_auth.upstream.transport.pool import ConnectionPool

logger = logging.getLogger("velro_auth.upstream")

#: How often the idle connections are looked at. Looking sends nothing.
LOOK_EVERY_S: Final = 1.0
#: No server closes connections that were idle for less. A connection that ends earlier has another cause.
_SHORTEST_IDLE_S: Final = 2.0
#: How long a server's time limit for idle connections is remembered. A restart of the server looks like such a limit.
_LEARNED_FOR_S: Final = 600.0
_LONGEST_REST_S: Final = 60.0
_MAX_HEALTH_BYTES: Final = 64 * 1024
_FOREIGN: Final = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)


class IdleConnections:
    """Opens and checks the idle connections of a pool.

    Args:
        pool: The pool.
        path: Where to send a cheap request without consequences; any answer shows that a connection works.
        headers: The header fields of that request.
        connect_timeout_s: Limit for opening a connection.
        deadline_s: Limit for the whole request.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        path: str,
        headers: Mapping[str, str],
        *,
        connect_timeout_s: float,
        deadline_s: float,
    ) -> None:
        self._pool = pool
        self._path = path
        self._headers = headers
        self._connect_timeout_s = connect_timeout_s
        self._deadline_s = deadline_s

    def idle(self) -> tuple[Connection, ...]:
        """Return the idle connections, the one idle for longest first."""
        return self._pool.idle()

    def open(self) -> None:
        """Open one more connection and send a request on it, unless the pool is full.

        Without that first answer a connection that fails is no ``StaleConnection``, so a login would not be sent again.

        Raises:
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: The server cannot be reached.
        """
        if not self._pool.is_full:
            self._check(self._pool.new())

    def check(self, connection: Connection) -> None:
        """Send a request on an idle connection, unless another thread uses the connection.

        Raises:
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: It failed and was closed.
        """
        if self._pool.remove(connection):
            self._check(connection)

    def discard(self, connection: Connection) -> None:
        """Close an idle connection, unless another thread uses it."""
        self._pool.discard(connection)

    def _check(self, connection: Connection) -> None:
        is_usable = False
        try:
            response = connection.exchange(
                "GET",
                self._path,
                None,
                self._headers,
                connect_timeout_s=self._connect_timeout_s,
                ends_s=time.monotonic() + self._deadline_s,
            )
            body = response.read(_MAX_HEALTH_BYTES)
            # A server that closes the connection after each answer leaves nothing to keep.
            is_usable = len(body) < _MAX_HEALTH_BYTES and connection.is_connected
            if not is_usable:
                raise ConnectionError("the server keeps no connections")
        finally:
            self._pool.release(connection, is_usable=is_usable)


class IdleConnection(Protocol):
    """An idle connection. Times are on the monotonic clock."""

    opened_s: float
    used_s: float

    @property
    def is_connected(self) -> bool:
        """Whether the other side has not closed it."""


AnySpare = TypeVar("AnySpare", bound=IdleConnection)


class IdleConnectionsOf(Protocol[AnySpare]):
    """The idle connections of a pool; ``IdleConnections`` says what each method does."""

    def idle(self) -> Sequence[AnySpare]:
        """Return them, the one unused for longest first."""

    def open(self) -> None:
        """Open one more."""

    def check(self, connection: AnySpare, /) -> None:
        """Send a request on one."""

    def discard(self, connection: AnySpare, /) -> None:
        """Close one."""


@dataclass(frozen=True, slots=True)
class Age:
    """How old an idle connection is, and for how long it was not used, in seconds."""

    age_s: float
    idle_s: float


class KeepWarm(Generic[AnySpare]):
    """Keeps some working connections idle at all times, in a thread of its own.

    Logins go first: the last idle connection is never taken away for a check. A new connection is opened, and
    replaces it. If the server closes idle connections before they are checked, they are checked more often.
    While Supabase is down, the pauses between tries become longer, up to a minute.

    Args:
        idle_connections: The idle connections.
        connections: How many are kept. 0 keeps none and starts nothing.
        every_s: An idle connection is tried after so many seconds.
        max_age_s: An idle connection is replaced after so many seconds: addresses change, balancers are replaced.
        clock: A clock that never jumps, in seconds.
        jitter: Returns a number between 0 and 1.
    """

    def __init__(
        self,
        idle_connections: IdleConnectionsOf[AnySpare],
        *,
        connections: int = 2,
        every_s: float = 30.0,
        max_age_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._idle_connections = idle_connections
        self._connections = connections
        self._every_s = every_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._jitter = jitter
        self._learned_s = every_s
        self._learned_until_s = 0.0
        self._failures = 0
        self._rests_until_s = 0.0
        self._stopped = threading.Event()
        #: Looked after by the watch.
        self.thread: Final = Background(self._run, name="warmth")

    def start(self) -> None:
        """Start the thread, unless there is one or nothing to do. Call it after a fork, which no thread survives."""
        if self._connections:
            self.thread.ensure()

    def stop(self) -> None:
        """Stop the thread, without waiting for the answer to a request that it has just sent."""
        self._stopped.set()
        self.thread.end(LOOK_EVERY_S)

    def ages(self) -> tuple[Age, ...]:
        """Return what is idle right now."""
        now_s = self._clock()
        return tuple(Age(now_s - spare.opened_s, now_s - spare.used_s) for spare in self._idle_connections.idle())

    def look(self) -> None:
        """Look after the connections once."""
        if self._clock() < self._rests_until_s:
            return
        try:
            self._bury()
            self._tend()
            self._fill_up()
        except _FOREIGN as error:
            self._failed(error)
        else:
            self._succeeded()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()
            except Exception:
                # The thread must survive a defect: no other code would notice its end.
                logger.exception("keeping connections warm failed")
                self._rests_until_s = self._clock() + _LONGEST_REST_S
            self._stopped.wait(LOOK_EVERY_S)

    def _bury(self) -> None:
        """Drop connections that the server has closed, and learn after what idle time it closes them."""
        for spare in self._idle_connections.idle():
            if spare.is_connected:
                continue
            self._learn(self._clock() - spare.used_s)
            self._idle_connections.discard(spare)

    def _learn(self, idle_s: float) -> None:
        if idle_s >= _SHORTEST_IDLE_S:
            self._learned_s = idle_s / 2
            self._learned_until_s = self._clock() + _LEARNED_FOR_S

    def _tend(self) -> None:
        """Check connections that were idle for long; close those that are too many or too old."""
        now_s = self._clock()
        patience_s = min(self._every_s, self._learned_s) if now_s < self._learned_until_s else self._every_s
        for spare in self._idle_connections.idle():
            idle = self._idle_connections.idle()
            is_old = now_s - spare.opened_s >= self._max_age_s
            if spare not in idle or not (is_old or now_s - spare.used_s >= patience_s):
                continue
            if len(idle) > self._connections:
                self._idle_connections.discard(spare)
            elif is_old or len(idle) == 1:
                self._idle_connections.open()
                self._idle_connections.discard(spare)
            else:
                self._try(spare)

    def _try(self, spare: AnySpare) -> None:
        """Check a connection. If it is dead, also close the connections that were unused for as long.

        A router that forgot a connection sends no sign: each such connection would cost a login its whole deadline.
        """
        used_s = spare.used_s
        try:
            self._idle_connections.check(spare)
        except _FOREIGN:
            self._learn(self._clock() - used_s)
            for other in self._idle_connections.idle():
                if other.used_s < used_s + LOOK_EVERY_S:
                    self._idle_connections.discard(other)

    def _fill_up(self) -> None:
        for _ in range(self._connections - len(self._idle_connections.idle())):
            self._idle_connections.open()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        rest_s = min(2.0**self._failures, _LONGEST_REST_S)
        self._rests_until_s = self._clock() + rest_s * (1 + self._jitter()) / 2
        if self._failures == 1:
            logger.warning("no warm connections to Supabase", extra={"error": type(error).__name__})

    def _succeeded(self) -> None:
        if self._failures:
            logger.info("warm connections to Supabase again", extra={"failures": self._failures})
        self._failures = 0
