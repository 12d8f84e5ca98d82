"""Accepts clients, lets their connections wait in the selector, and closes the oldest when there is no room.

A worker that has more connections than another one leaves new clients to the others for a moment.
"""

from __future__ import annotations

import abc
import errno
import selectors
import time
from collections import deque
from functools import partial
from typing import Any, Final

from gunicorn.workers.base import Worker as GunicornWorker

from velro_auth import errors
from velro_auth.server.connection import Connection, DeadlineQueue, DeadlineQueues
from velro_auth.server.connection_share import LEFT_TO_OTHERS_S, ConnectionShare
from velro_auth.server.request_head import ParserSettings

#: Clients accepted before the other sockets are looked at again.
CLIENTS_PER_TURN: Final = 64

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: The last five are errors of a new connection's network, which accept(2) of Linux hands over.
_NO_CLIENT: Final = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.EPERM, errno.EINTR}
    | {errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)


class AdmittingWorker(GunicornWorker, abc.ABC):  # type: ignore[misc] # gunicorn has no types
    """A worker whose clients wait in its selector, in bounded number and for a bounded time.

    Attributes:
        connection_share: Knows the connections of all workers. The master sets it before the fork.
    """

    poller: selectors.BaseSelector
    alive: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clock = time.monotonic
        self.connection_share = ConnectionShare(1)
        self._left_until_s = 0.0
        self._refused: deque[tuple[Connection, errors.VelroAuthError]] = deque()
        self._queues = DeadlineQueues(idle_s=self.cfg.keepalive, clock=self._clock)
        self._max_connections: int = self.cfg.worker_connections
        self._is_accepting = False
        self.connection_count = 0

    def load_wsgi(self) -> None:
        """Load the application and read from it what the parser has to know."""
        super().load_wsgi()
        self._parser_settings = ParserSettings(
            self.cfg,
            getattr(self.wsgi, "main_thread_paths", ()),
            # Read each time: new settings may change them.
            lambda: getattr(self.wsgi, "body_limits", None),
        )

    def notify(self) -> None:
        """Tell the master that this worker lives, and the other workers how many connections it has."""
        super().notify()
        self._count(0)

    def _set_accepting(self, *, accepting: bool) -> None:
        if accepting != self._is_accepting:
            self._is_accepting = accepting
            for listener in self.sockets:
                if accepting:
                    listener.settimeout(0)
                    self.poller.register(listener, selectors.EVENT_READ, self._accept)
                else:
                    self.poller.unregister(listener)

    def _look_for_clients(self) -> float:
        """Watch the listeners while there is room; return how long the selector may wait, in seconds."""
        if self._left_until_s:
            left_s = self._left_until_s - self._clock()
            if left_s > 0:
                return left_s
            self._left_until_s = 0.0
            # The others had time enough for a client that is still there.
            for listener in self.sockets if self._has_room else ():
                self._accept_one(listener)
        self._set_accepting(accepting=self._has_room)
        return 1.0

    @property
    def _has_room(self) -> bool:
        return self.connection_count < self._max_connections

    def _accept(self, listener: Any) -> None:
        """Accept several clients: an honest client may stand behind many that are not."""
        for _ in range(CLIENTS_PER_TURN):
            if self.connection_share.has_more_than_another(self.connection_count):
                self._set_accepting(accepting=False)
                self._left_until_s = self._clock() + LEFT_TO_OTHERS_S
                return
            if not self._has_room or not self._accept_one(listener):
                return

    def _stop_accepting(self) -> None:
        """Accept the clients that are connected already; then new clients are refused at once."""
        self._set_accepting(accepting=False)
        # Also where the master is gone.
        self.alive = False
        self.connection_share.leave()
        for listener in self.sockets:
            listener.settimeout(0)
            while self._accept_one(listener):
                pass
            listener.close()
        self._queues.shorten_for_shutdown()

    def _accept_one(self, listener: Any) -> bool:
        """Accept one client, which waits in the selector; False when there was none."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                return self._evict_one()
            if error.errno not in _NO_CLIENT:
                raise
            return False
        self._count(+1)
        if not self._has_room:
            self._evict_one()
        self._wait(Connection(sock, client, listener.getsockname(), self._parser_settings), self._queues.silent)
        return True

    def _evict_one(self) -> bool:
        """Close one waiting connection to make room; False when none waits."""
        conn = self._queues.next_to_evict()
        if self._refused and (conn is None or conn.queue is not self._queues.lingering):
            conn, _ = self._refused.popleft()
        if conn is None:
            return False
        self._close(conn)
        return True

    def _wait(self, conn: Connection, queue: DeadlineQueue) -> None:
        """Let a connection wait until the client sends something."""
        self._queues.add(conn, queue)
        if not conn.is_watched:
            self._watch(conn, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _watch(self, conn: Connection, event: int, callback: Any) -> None:
        self.poller.register(conn.sock, event, callback)
        conn.is_watched = True

    def _unwatch(self, conn: Connection) -> None:
        if conn.is_watched:
            self.poller.unregister(conn.sock)
            conn.is_watched = False

    def _close(self, conn: Connection) -> None:
        self._queues.remove(conn)
        self._unwatch(conn)
        conn.sock.close()
        self._count(-1)

    def _count(self, change: int) -> None:
        self.connection_count += change
        if self.alive:
            self.connection_share.report(self.connection_count)

    def _linger(self, conn: Connection) -> None:
        """Close our side and wait in the selector for the client to close its own."""
        if conn.half_close():
            self._wait(conn, self._queues.lingering)
        else:
            self._close(conn)

    @abc.abstractmethod
    def _on_readable(self, conn: Connection, _: object) -> None:
        """Read what a client has sent."""
