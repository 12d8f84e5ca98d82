"""Connections of clients (their sockets never block), and the queues in which they wait, ordered by deadline."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import RequestParser

#: One read of the socket. More than the head or the login of any honest client.
READ_BYTES: Final = 16 * 1024
#: How long a client may stay silent after connecting, and how long a whole request may take to arrive.
REQUEST_TIMEOUT_S: Final = 10.0
#: How long a client may take to receive its response.
SEND_TIMEOUT_S: Final = 10.0
#: How long a connection that we have closed is read, so that the response is not cut off by a reset (RFC 9112, 9.6).
LINGER_S: Final = 2.0
#: How long a stopping worker waits for a request on an idle connection; gunicorn's own value.
SHUTDOWN_WAIT_S: Final = 2.0


class Connection:
    """A connection, the bytes that wait on it, and the queue in which it waits.

    Args:
        sock: The connected socket; it is made non-blocking.
        client: The peer's address, as ``accept`` returns it.
        server: Our own, likewise.
        settings: Settings of the parser.

    Attributes:
        inbox: What has arrived and was not read by the parser yet.
        outbox: What has to be sent.
        parser: Reads the current request.
        queue: Where the connection waits; None while its request is answered.
        deadline_s: When the wait in its queue is over.
        is_watched: Whether it is registered with the selector.
        has_ended: The client sends nothing more.
        drained_bytes: What was read and dropped since we closed our side.
        afterwards: Callbacks of the application, to run after the response is sent.
    """

    def __init__(self, sock: socket.socket, client: Any, server: Any, settings: ParserSettings) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.client, self.server = client, server
        self._settings = settings
        self._environ = settings.environ_of(client, server)
        self.inbox, self.outbox = bytearray(), bytearray()
        self.parser = RequestParser(settings, self._environ)
        self.queue: DeadlineQueue | None = None
        self.deadline_s = 0.0
        self.is_watched = False
        self.has_ended = False
        self.drained_bytes = 0
        self.afterwards: list[Callable[[], object]] = []
        self._was_continued = False

    def receive(self) -> None:
        """Read what has arrived, without waiting."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.inbox += data
        self.has_ended = not data

    def flush(self) -> bool:
        """Send the outbox, as far as the system takes it; False when something is left.

        Raises:
            OSError: The client is gone.
        """
        if self.outbox:
            try:
                del self.outbox[: self.sock.send(self.outbox)]
            except BlockingIOError:
                return False
        return not self.outbox

    def send_continue(self) -> None:
        """Send ``100 Continue``, once, to a client that waits for it before it sends the body."""
        if self.parser.wants_continue and not self._was_continued:
            self._was_continued = True
            self.outbox += b"HTTP/1.1 100 Continue\r\n\r\n"
            # A client that is gone is noticed when it is read from.
            with contextlib.suppress(OSError):
                self.flush()

    def expect_next_request(self) -> None:
        """Prepare for the next request, whose start may be in the inbox already."""
        self.parser = RequestParser(self._settings, self._environ)
        self._was_continued = False

    def take_afterwards(self) -> list[Callable[[], object]]:
        """Return the callbacks of the last request, which run once."""
        jobs, self.afterwards = self.afterwards, []
        return jobs

    def half_close(self) -> bool:
        """Tell the client that nothing more comes (FIN); False when it is gone."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True


class DeadlineQueue(dict["Connection", None]):
    """Connections that wait for the same thing. All have the same time limit, so the first has the earliest deadline.

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
