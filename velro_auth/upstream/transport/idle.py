"""Idle connections: which one serves next, and which one never serves again.

An answer belongs to a request only by its place on the connection. Bytes that arrive outside an exchange (a second
copy of an answer, a late one) would be read as the answer to the next request, which another user may have sent. So
a connection is closed when there are bytes behind the end of an answer, or on it while it is idle.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from urllib3.connectionpool import HTTPConnectionPool

from velro_auth.errors import WrongAnswer

logger = logging.getLogger("velro_auth.upstream")

#: The first rest: twice the longest delay of a second copy that was seen (50 ms).
SHORTEST_REST_S: Final = 0.1
LONGEST_REST_S: Final = 2.0
#: How long it is remembered that the other side sends what was not asked for.
LEARNED_FOR_S: Final = 600.0


class Caution:
    """Knows how long a connection has to be silent before it may serve again.

    0 as long as every byte that arrived was asked for. After the first one that was not, connections rest between
    two requests, so that a second copy arrives while they are idle, and shows.

    Args:
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rest_s = 0.0
        self._until_s = 0.0

    @property
    def rest_s(self) -> float:
        """How long a connection has to be silent just now."""
        with self._lock:
            return self._rest_s if self._clock() < self._until_s else 0.0

    def surprised(self, rested_s: float) -> None:
        """Note that bytes arrived that were not asked for.

        Args:
            rested_s: How long the connection had been silent before.
        """
        with self._lock:
            now_s = self._clock()
            before_s = self._rest_s if now_s < self._until_s else 0.0
            self._rest_s = min(LONGEST_REST_S, max(SHORTEST_REST_S, before_s, 2 * rested_s))
            self._until_s = now_s + LEARNED_FOR_S
        if not before_s:
            logger.warning("Supabase's side sends answers that were not asked for", extra={"rest_s": self._rest_s})


class Keepable(Protocol):
    """What has to be known about a connection that may serve again. Times are on the monotonic clock."""

    opened_s: float
    used_s: float
    #: How long it had been silent before its last request, in seconds.
    rested_s: float
    #: Whether bytes were left behind the end of an answer.
    has_leftover: bool
    caution: Caution

    @property
    def is_connected(self) -> bool:
        """Whether the other side has not closed it, and nothing arrived on it."""

    def hears_unasked(self) -> bool:
        """Return whether bytes arrived on it while it was idle. Takes a byte: it must be closed then."""

    def close(self) -> None:
        """Close it."""


class Idle(queue.LifoQueue[Any]):
    """A pool's idle connections, the one used last on top; ``None`` is a place for one more."""

    caution: Caution

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as in queue
        """Return a connection to serve next, closed where bytes arrived on it; urllib3 opens it anew.

        Raises:
            queue.Empty: There is neither a connection nor a place for one.
        """
        connection: Keepable | None = super().get(block, timeout)
        if connection is not None and connection.hears_unasked():
            self.caution.surprised(0.0)
            connection.close()
        return connection

    def put(self, item: Keepable | None, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Take a connection back; one with bytes behind the end of its answer is closed, and its place kept.

        Raises:
            queue.Full: There is no place.
        """
        if item is not None and item.has_leftover:
            self.caution.surprised(0.0)
            item.close()
            item = None
        super().put(item, block, timeout)

    def snapshot(self) -> tuple[Any, ...]:
        """Return the connections, the one unused for longest first."""
        with self.mutex:
            return tuple(connection for connection in self.queue if connection is not None)

    def take(self, wanted: Any) -> bool:
        """Take out *wanted* wherever it is; False when somebody else has it."""
        with self.mutex:
            if wanted not in self.queue:
                return False
            self.queue.remove(wanted)
            self.not_full.notify()
        return True

    def _get(self) -> Keepable | None:
        """Choose a connection. Called under the lock."""
        rest_s = self.caution.rest_s
        return self._rested(time.monotonic() - rest_s) if rest_s else super()._get()

    def _rested(self, silent_since_s: float) -> Keepable | None:
        """Choose the connection that was silent for longest, or a place for a new one where none was for long enough.

        Where there is no such place either, the oldest connection makes room.
        """
        oldest = next((connection for connection in self.queue if connection is not None), None)
        if oldest is not None and (oldest.used_s <= silent_since_s or None not in self.queue):
            self.queue.remove(oldest)
            if oldest.used_s > silent_since_s:
                oldest.close()
                return None
            return oldest  # type: ignore[no-any-return] # the queue holds anything
        self.queue.remove(None)
        return None


def discard(pool: HTTPConnectionPool, connection: Any) -> None:
    """Close an idle connection, unless somebody took it in the meantime."""
    if isinstance(pool.pool, Idle) and pool.pool.take(connection):
        connection.close()
        pool._put_conn(None)  # noqa: SLF001 - a place for another one


@contextlib.contextmanager
def held_back(raw: Any) -> Iterator[None]:
    """Keep the connection of an answer from others while the block reads and judges the answer.

    It goes back to its pool when the answer was read to its end and the block is content with it. Otherwise it is
    closed: another answer may be on its way on it.

    Args:
        raw: The answer, as urllib3 gave it.
    """
    connection, pool = getattr(raw, "_connection", None), getattr(raw, "_pool", None)
    if connection is None or pool is None:
        yield
        return
    # urllib3 would give it back with the last byte read.
    raw._connection = None  # noqa: SLF001
    is_whole = False
    try:
        yield
        is_whole = raw._original_response.isclosed()  # noqa: SLF001
    except WrongAnswer:
        connection.caution.surprised(connection.rested_s)
        raise
    finally:
        if not is_whole:
            connection.close()
        pool._put_conn(connection if is_whole else None)  # noqa: SLF001
