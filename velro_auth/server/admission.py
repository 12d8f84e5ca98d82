"""Lets clients in, keeps them where they wait, and closes them: the oldest of a crowd when there is no room."""

from __future__ import annotations

import abc
import errno
import selectors
import time
from collections import deque
from functools import partial
from typing import Any, Final

from velro_auth import errors
from velro_auth.server.buffered_connection import SEND_TIMEOUT_S
from velro_auth.server.connection import Connection
from velro_auth.server.deadlines import Place, Waiting
from velro_auth.server.dispatch import AnsweringWorker
from velro_auth.server.plain_parser import Reader

#: Clients taken in before the others are looked at again.
CLIENTS_PER_TURN: Final = 64

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOBODY: Final = frozenset({errno.EAGAIN, errno.ECONNABORTED, errno.EPERM, errno.EINTR})


class AdmittingWorker(AnsweringWorker):
    """A worker whose clients wait in its selector, in bounded number and for a bounded time."""

    poller: selectors.BaseSelector

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clock = time.monotonic
        self._refused: deque[tuple[Connection, errors.RequestError]] = deque()
        self._waiting = Waiting(send_s=SEND_TIMEOUT_S, idle_s=self.cfg.keepalive, clock=self._clock)
        # gunicorn's name: it looks at the length.
        self.keepalived_conns = self._waiting.idle

    def load_wsgi(self) -> None:
        """Load the application and ask it for the paths where time matters."""
        super().load_wsgi()
        self._reader = Reader(self.cfg, getattr(self.wsgi, "hot_paths", ()))

    def accept(self, listener: Any) -> None:
        """Take in those who wait to be let in: one of them may be honest, and stand behind a crowd that is not."""
        for _ in range(CLIENTS_PER_TURN):
            if self.nr_conns >= self.worker_connections or not self._accept_one(listener):
                return

    def _accept_one(self, listener: Any) -> bool:
        """Take in one client, which waits in the selector; False when there was none."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                return self._make_room()
            if error.errno not in _NOBODY:
                raise
            return False
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self._reader)
        self._wait(conn, self._waiting.silent)
        return True

    def _make_room(self) -> bool:
        """Close the connection that deserves its place least: a crowd that sends nothing must not keep others out."""
        conn = self._waiting.least_deserving()
        if self._refused and (conn is None or conn.place is not self._waiting.lingering):
            conn, _ = self._refused.popleft()
        if conn is None:
            return False
        self._close(conn)
        return True

    def _wait(self, conn: Connection, place: Place) -> None:
        """Let it wait for the client to send something."""
        self._waiting.enter(conn, place)
        if not conn.is_watched:
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))
            conn.is_watched = True

    def _unwatch(self, conn: Connection) -> None:
        if conn.is_watched:
            self.poller.unregister(conn.sock)
            conn.is_watched = False

    def _close(self, conn: Connection) -> None:
        self._waiting.leave(conn)
        self._unwatch(conn)
        conn.sock.really_close()
        self.nr_conns -= 1

    def _linger(self, conn: Connection) -> None:
        """Close our side and wait in the selector for the client to close its own."""
        if conn.sock.half_close():
            self._wait(conn, self._waiting.lingering)
        else:
            self._close(conn)

    @abc.abstractmethod
    def _on_readable(self, conn: Connection, _: object) -> None:
        """Take in what a client has sent."""
