"""gunicorn's threaded worker, with the patience moved from its threads into its selector.

As shipped, ``gthread`` can be stopped by a few clients: one that sends nothing holds a pool thread for 5 s, and
one that asks for ``Connection: close`` and stays holds the main thread for 2 s (measured with 27.0.1: one such
client per half second takes a probe from 1 ms to 3 s). Here a thread is only used for a request that has
arrived, and what a load balancer asks every few seconds is answered on the main thread, so that it never
queues behind logins. ``docs/explanation/worker.md`` tells the whole story.

Private parts of gunicorn are used, hence its exact version in ``pyproject.toml``; where one is missing, or for
TLS and HTTP/2, the plain worker takes over.
"""

from __future__ import annotations

import errno
import selectors
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from velro_auth.worker_answer import AnsweringWorker
from velro_auth.worker_channel import SEND_TIMEOUT_S
from velro_auth.worker_connection import Connection
from velro_auth.worker_fit import unfit
from velro_auth.worker_intake import Intake, Stage
from velro_auth.worker_plain import Reader

#: How long a client may stay silent after connecting, and how long a whole request may take to arrive.
REQUEST_TIMEOUT_S: Final = 10.0
#: How long a connection that we have closed is read, so that the answer is not cut off by a reset (RFC 9112, 9.6).
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 64 * 1024
#: How long a stopping worker waits for a request on an idle connection; gunicorn's own value.
LAST_CALL_S: Final = 2.0
#: Probes answered before the sockets are looked at again, so that a flood of them does not keep logins out.
PROBES_PER_TURN: Final = 16
#: One of so many threads may wait for bodies that are still on their way.
OPEN_SHARE: Final = 4

#: How often the master hears of a worker; it waits for gunicorn's ``timeout``, 30 s here.
BEAT_S: Final = 1.0

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOBODY: Final = frozenset({errno.EAGAIN, errno.ECONNABORTED, errno.EPERM, errno.EINTR})


class Worker(AnsweringWorker):
    """Serves an application.

    The application may have two attributes: ``main_thread_paths``, of paths that are fast and never block, and
    ``hot_paths``, where time matters, so that plain requests for them are read by ``worker_plain``.
    """

    def __new__(cls, *args: Any) -> Any:
        """Return a worker; gunicorn's own where this one does not fit (gunicorn calls it as it calls a class)."""
        *_, cfg, log = args
        if reason := unfit(cfg):
            log.warning("the plain threaded worker is used: %s", reason)
            return ThreadWorker(*args)
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._clock = time.monotonic
        self._probes: deque[Connection] = deque()
        self._waiting_to_read: deque[Connection] = deque()
        self._open_count = 0
        self._next_beat_s = 0.0
        self._most_open = max(1, self.cfg.threads // OPEN_SHARE)
        # Each in the order of its deadlines, since all that enter one wait equally long.
        self._silent: dict[Connection, None] = {}
        self._arriving: dict[Connection, None] = {}
        self._lingering: dict[Connection, None] = {}
        self._taking: dict[Connection, None] = {}
        # gunicorn's name: it looks at the length.
        self.keepalived_conns: dict[Connection, None] = {}

    def load_wsgi(self) -> None:
        """Load the application and ask it for its probes, and for the paths where time matters."""
        super().load_wsgi()
        self._reader = Reader(self.cfg, getattr(self.wsgi, "hot_paths", ()))
        self._intake = Intake(
            probe_paths=getattr(self.wsgi, "main_thread_paths", ()),
            limit_request_line=self.cfg.limit_request_line,
        )

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to stop, then finish what was accepted."""
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive and self._beats():
            self.set_accept_enabled(self.nr_conns < self.worker_connections)
            self._turn(wait_s=1.0)
        self._stop_accepting()
        ends_s = self._clock() + self.cfg.graceful_timeout
        while self.nr_conns and self._clock() < ends_s:
            self._beats()
            self._turn(wait_s=0.1)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()

    def _beats(self) -> bool:
        """Tell the master once a second that this worker lives; False when there is no master any more.

        gunicorn does so each turn. That is two system calls a request, and the first of them gives the interpreter to
        the thread that answers and then takes it away again.
        """
        now_s = self._clock()
        if now_s < self._next_beat_s:
            return True
        self._next_beat_s = now_s + BEAT_S
        self.notify()
        return bool(self.is_parent_alive())

    def _turn(self, *, wait_s: float) -> None:
        for key, _ in self.poller.select(0 if self._probes else wait_s):
            key.data(key.fileobj)
        for _ in range(min(len(self._probes), PROBES_PER_TURN)):
            self._answer_here(self._probes.popleft())
        self._expire()

    def _stop_accepting(self) -> None:
        """Take in who has connected already, then let new clients be refused at once."""
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.settimeout(0)
            while self.accept(listener):
                pass
            listener.close()
        last_call_s = self._clock() + LAST_CALL_S
        for place in (self._silent, self.keepalived_conns):
            for conn in place:
                conn.ends_s = min(conn.ends_s, last_call_s)

    def _expire(self) -> None:
        now_s = self._clock()
        for place, end in (
            (self._silent, self._close),
            (self._arriving, self._refuse_late),
            (self._lingering, self._close),
            (self._taking, self._close),
            (self.keepalived_conns, self._close),
        ):
            while place and (conn := next(iter(place))).ends_s <= now_s:
                end(conn)

    # -- where connections are --------------------------------------------------------------------------------------

    def accept(self, listener: Any) -> bool:
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
        self._wait(conn, self._silent, REQUEST_TIMEOUT_S)
        return True

    def _make_room(self) -> bool:
        """Close who has waited longest for nothing: a crowd of idle clients must not keep others out."""
        for place in (self._lingering, self._silent, self.keepalived_conns, self._arriving, self._taking):
            if place:
                self._close(next(iter(place)))
                return True
        return False

    def _wait(self, conn: Connection, place: dict[Connection, None], for_s: float) -> None:
        """Let it wait for the client to send something."""
        self._enter(conn, place, for_s)
        if not conn.is_watched:
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))
            conn.is_watched = True

    def _enter(self, conn: Connection, place: dict[Connection, None], for_s: float) -> None:
        self._leave(conn)
        conn.place, conn.ends_s = place, self._clock() + for_s
        place[conn] = None

    def _leave(self, conn: Connection) -> None:
        if conn.place is not None:
            del conn.place[conn]
            conn.place = None

    def _unwatch(self, conn: Connection) -> None:
        if conn.is_watched:
            self.poller.unregister(conn.sock)
            conn.is_watched = False

    def _close(self, conn: Connection) -> None:
        self._leave(conn)
        self._unwatch(conn)
        conn.sock.really_close()
        self.nr_conns -= 1

    def _linger(self, conn: Connection) -> None:
        """Close our side and wait in the selector for the client to close its own."""
        if conn.sock.half_close():
            self._wait(conn, self._lingering, LINGER_S)
        else:
            self._close(conn)

    def _refuse_late(self, conn: Connection) -> None:
        util.write_error(conn.sock, 408, "Request Timeout", "")
        self._leave(conn)
        self._send(conn, keep=False)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_readable(self, conn: Connection, _: object) -> None:
        if conn.place is None:
            return  # closed in this turn, or its probe has not had its turn yet
        is_there = conn.sock.fill()
        if conn.place is self._lingering:
            conn.drained_bytes += len(conn.sock.inbox)
            conn.sock.inbox.clear()
            if not is_there or conn.drained_bytes > LINGER_BYTES:
                self._close(conn)
        elif is_there:
            self._sort(conn)
        else:
            self._close(conn)

    def _sort(self, conn: Connection) -> None:
        """Send a request to where it is answered, or let it wait for its rest."""
        stage = self._intake.judge(conn.arrival)
        if stage is Stage.PARTIAL:
            if conn.place is not self._arriving:
                self._wait(conn, self._arriving, REQUEST_TIMEOUT_S)
            return
        ends_s = conn.ends_s if conn.place is self._arriving else self._clock() + REQUEST_TIMEOUT_S
        self._leave(conn)
        conn.parser.arrival = None if stage is Stage.OPEN else conn.arrival
        if stage is Stage.PROBE:
            self._probes.append(conn)
            return
        self._unwatch(conn)
        conn.sock.waits_until_s = ends_s
        conn.is_open = stage is Stage.OPEN
        if conn.is_open:
            self._waiting_to_read.append(conn)
            self._admit()
        else:
            self.tpool.submit(self._work, conn)

    def _admit(self) -> None:
        """Give threads to open requests, as far as their share goes."""
        while self._waiting_to_read and self._open_count < self._most_open:
            self._open_count += 1
            self.tpool.submit(self._work, self._waiting_to_read.popleft())

    def _answer_here(self, conn: Connection) -> None:
        conn.sock.waits_until_s = 0.0
        self._send(conn, keep=self.handle(conn))

    def _work(self, conn: Connection) -> None:
        """Answer a request. Runs in a pool thread."""
        keep = False
        try:
            keep = self.handle(conn)
        finally:
            self.method_queue.defer(self._worked, conn, keep)

    def handle(self, conn: Connection) -> bool:
        """Answer one request with gunicorn's own response and error pages; True when the connection may go on."""
        keep = bool(super().handle(conn))
        try:
            conn.sock.flush()
        except OSError:
            # The main thread sends what is left, and notices who is gone.
            keep = False
        while conn.afterwards:
            self._do(conn.afterwards.pop(0))
        # After an end that was only a deadline, the rest of a body would look like the next request.
        return keep and not conn.sock.has_ended

    def _do(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception:
            # The answer has left; the connection is not to blame.
            self.log.exception("something was not done after an answer")

    def _worked(self, conn: Connection, keep: bool) -> None:  # noqa: FBT001 - called through a queue
        if conn.is_open:
            conn.is_open = False
            self._open_count -= 1
            self._admit()
        self._send(conn, keep=keep)

    def _send(self, conn: Connection, *, keep: bool) -> None:
        """See the answer off: a client may take it at its own pace, up to a limit, and holds no thread."""
        try:
            is_sent = conn.sock.flush()
        except OSError:
            self._close(conn)
            return
        if is_sent:
            self._after(conn, keep=keep)
        elif conn.place is not self._taking:
            self._unwatch(conn)
            self._enter(conn, self._taking, SEND_TIMEOUT_S)
            self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._on_writable, conn, keep))
            conn.is_watched = True

    def _on_writable(self, conn: Connection, keep: bool, _: object) -> None:  # noqa: FBT001 - called by the selector
        if conn.place is not self._taking:
            return  # closed in this turn
        self._send(conn, keep=keep)

    def _after(self, conn: Connection, *, keep: bool) -> None:
        """Wait for the next request, or for the client to close its side."""
        if conn.place is self._taking:
            self._leave(conn)
            self._unwatch(conn)
        if not keep:
            self._linger(conn)
            return
        conn.turn_over()
        if conn.sock.inbox:
            self._sort(conn)
        else:
            self._wait(conn, self.keepalived_conns, self.cfg.keepalive if self.alive else LAST_CALL_S)
