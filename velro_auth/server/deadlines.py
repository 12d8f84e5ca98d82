"""Queues of waiting connections, by deadline, and which connection is closed first when there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from velro_auth.server.connection import Connection

#: How long a client may stay silent after connecting, and how long a whole request may take to arrive.
REQUEST_TIMEOUT_S: Final = 10.0
#: How long a client may take to receive its response.
SEND_TIMEOUT_S: Final = 10.0
#: How long a connection that we have closed is read, so that the response is not cut off by a reset (RFC 9112, 9.6).
LINGER_S: Final = 2.0
#: How long a stopping worker waits for a request on an idle connection; gunicorn's own value.
SHUTDOWN_WAIT_S: Final = 2.0


class DeadlineQueue(dict["Connection", None]):
    """Connections that wait for the same thing, earliest deadline first: all wait equally long.

    Args:
        timeout_s: How long each may wait.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self.timeout_s = timeout_s


class DeadlineQueues:
    """All connections that wait for their client.

    Args:
        idle_s: How long a connection may be idle between two requests.
        clock: A monotonic clock, in seconds.

    Attributes:
        silent: Connected, and sent nothing yet.
        receiving: Sent a part of a request.
        sending: Has not received all of its response yet.
        idle: Between two requests.
        lingering: We have closed our side.
    """

    def __init__(self, *, idle_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.silent = DeadlineQueue(REQUEST_TIMEOUT_S)
        self.receiving = DeadlineQueue(REQUEST_TIMEOUT_S)
        self.sending = DeadlineQueue(SEND_TIMEOUT_S)
        self.idle = DeadlineQueue(idle_s)
        self.lingering = DeadlineQueue(LINGER_S)
        self._queues: Final = (self.silent, self.receiving, self.sending, self.idle, self.lingering)

    def add(self, conn: Connection, queue: DeadlineQueue) -> None:
        """Move a connection to a queue; its time there starts now."""
        self.remove(conn)
        conn.queue = queue
        conn.deadline_s = self._clock() + queue.timeout_s
        queue[conn] = None

    def remove(self, conn: Connection) -> None:
        """Remove a connection from its queue, if it is in one."""
        if conn.queue is not None:
            del conn.queue[conn]
            conn.queue = None

    def next_expired(self) -> Connection | None:
        """Return a connection whose deadline has passed."""
        now_s = self._clock()
        for queue in self._queues:
            if queue and (conn := next(iter(queue))).deadline_s <= now_s:
                return conn
        return None

    def next_to_evict(self) -> Connection | None:
        """Return the connection to close for a new one; None when none waits.

        A connection that has its response goes first. Then it is the connection that has used up the largest share of
        its time: an honest request arrives within milliseconds, so it is never the oldest among many clients that
        announce a request and do not send it.
        """
        if self.lingering:
            return next(iter(self.lingering))
        now_s = self._clock()
        heads = [next(iter(queue)) for queue in self._queues if queue]
        return min(heads, key=lambda conn: _share_left(conn, now_s), default=None)

    def shorten_for_shutdown(self) -> None:
        """Shorten the wait of connections whose next request has not begun."""
        latest_s = self._clock() + SHUTDOWN_WAIT_S
        self.idle.timeout_s = min(self.idle.timeout_s, SHUTDOWN_WAIT_S)
        for queue in (self.silent, self.idle):
            for conn in queue:
                conn.deadline_s = min(conn.deadline_s, latest_s)


def _share_left(conn: Connection, now_s: float) -> float:
    return (conn.deadline_s - now_s) / conn.queue.timeout_s if conn.queue else 1.0
