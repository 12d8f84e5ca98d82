"""Accepts clients, lets their connections wait in the selector, and closes the oldest when there is no room."""

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
from velro_auth.server.request_head import ParserSettings

#: Clients accepted before the other sockets are looked at again.
CLIENTS_PER_TURN: Final = 64

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_CLIENT: Final = frozenset({errno.EAGAIN, errno.ECONNABORTED, errno.EPERM, errno.EINTR})


class AdmittingWorker(GunicornWorker, abc.ABC):  # type: ignore[misc] # gunicorn has no types
    """A worker whose clients wait in its selector, in bounded number and for a bounded time."""

    poller: selectors.BaseSelector
    alive: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clock = time.monotonic
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

    def _set_accepting(self, *, accepting: bool) -> None:
        if accepting != self._is_accepting:
            self._is_accepting = accepting
            for listener in self.sockets:
                if accepting:
                    listener.settimeout(0)
                    self.poller.register(listener, selectors.EVENT_READ, self._accept)
                else:
                    self.poller.unregister(listener)

    def _accept(self, listener: Any) -> None:
        """Accept several clients: an honest client may stand behind many that are not."""
        for _ in range(CLIENTS_PER_TURN):
            if self.connection_count >= self._max_connections or not self._accept_one(listener):
                return

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
        self.connection_count += 1
        if self.connection_count >= self._max_connections:
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
        self.connection_count -= 1

    def _linger(self, conn: Connection) -> None:
        """Close our side and wait in the selector for the client to close its own."""
        if conn.half_close():
            self._wait(conn, self._queues.lingering)
        else:
            self._close(conn)

    @abc.abstractmethod
    def _on_readable(self, conn: Connection, _: object) -> None:
        """Read what a client has sent."""
