"""gunicorn's threaded worker, whose clients wait in its selector and not in its threads.

As shipped, ``gthread`` can be stopped by a few clients: one that sends nothing holds a pool thread for 5 s, and
one that asks for ``Connection: close`` and stays holds the main thread for 2 s (measured with 27.0.1: one such
client per half second takes a probe from 1 ms to 3 s). Here a thread is only used for a request that has
arrived, and what a load balancer asks every few seconds is answered on the main thread, so that it never
queues behind logins. ``docs/explanation/worker.md`` tells the whole story.

Private parts of gunicorn are used, hence its exact version in ``pyproject.toml``; where one is missing, or for
TLS and HTTP/2, the plain worker takes over.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from velro_auth import errors
from velro_auth.server.admission import AdmittingWorker
from velro_auth.server.compatibility import unfit
from velro_auth.server.connection import Connection
from velro_auth.server.deadlines import REQUEST_TIMEOUT_S
from velro_auth.server.dispatch import PlainWorker
from velro_auth.server.framing import Intake, Stage
from velro_auth.server.thread_pool import Pool

#: How much is read of a connection that we have closed.
LINGER_BYTES: Final = 64 * 1024
#: Probes answered before the sockets are looked at again, so that a flood of them does not keep logins out. Likewise
#: requests refused, each of which takes ten times as long.
PROBES_PER_TURN: Final = 16
REFUSALS_PER_TURN: Final = 4
#: One of so many threads may wait for bodies that are still on their way.
OPEN_SHARE: Final = 4

#: How often the master hears of a worker; it waits for gunicorn's ``timeout``, 30 s here.
BEAT_S: Final = 1.0

_ALL_THERE: Final = frozenset({Stage.PROBE, Stage.WHOLE})
_AWAITED: Final = frozenset({Stage.PARTIAL, Stage.OPEN})


class Worker(AdmittingWorker):
    """Serves an application.

    The application may have these attributes:

    * ``main_thread_paths``: paths that are fast and never block.
    * ``hot_paths``: paths where time matters, so that plain requests for them are read by ``worker_plain``.
    * ``body_limits``: (method, path) → largest body. A larger one is refused before it is read, and where nothing is
      named the body is not waited for.
    * ``answers_refusals``, ``refusal_fields``: see ``worker_refusal``.
    """

    tpool: Pool

    def __new__(cls, *args: Any) -> Any:
        """Return a worker; gunicorn's own where this one does not fit (gunicorn calls it as it calls a class)."""
        *_, cfg, log = args
        if reason := unfit(cfg):
            log.warning("the plain threaded worker is used: %s", reason)
            return PlainWorker(*args)
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._probes: deque[Connection] = deque()
        self._open_count = 0
        self._next_beat_s = 0.0
        self._most_open = max(1, self.cfg.threads // OPEN_SHARE)

    def load_wsgi(self) -> None:
        """Load the application and ask it for its probes, and for the paths where time matters."""
        super().load_wsgi()
        self._intake = Intake(
            probe_paths=getattr(self.wsgi, "main_thread_paths", ()),
            limit_request_line=self.cfg.limit_request_line,
            body_limits=lambda: getattr(self.wsgi, "body_limits", None),
        )

    def get_thread_pool(self) -> Pool:
        """Start the threads that answer."""
        pool = Pool(self.cfg.threads)
        pool.fill()
        return pool

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
        self.tpool.fill()
        self.notify()
        return bool(self.is_parent_alive())

    def _turn(self, *, wait_s: float) -> None:
        for key, _ in self.poller.select(0 if self._probes or self._refused else wait_s):
            key.data(key.fileobj)
        for _ in range(min(len(self._probes), PROBES_PER_TURN)):
            self._answer_here(self._probes.popleft())
        for _ in range(min(len(self._refused), REFUSALS_PER_TURN)):
            self._refuse_now(*self._refused.popleft())
        self._expire()

    def _stop_accepting(self) -> None:
        """Take in who has connected already, then let new clients be refused at once."""
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.settimeout(0)
            while self._accept_one(listener):
                pass
            listener.close()
        self._waiting.last_call()

    def _expire(self) -> None:
        while conn := self._waiting.expired():
            if conn.place is self._waiting.arriving or conn.place is self._waiting.queued:
                self._refuse(conn, errors.RequestTimeout("did not arrive in time"))
            else:
                self._close(conn)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _refuse(self, conn: Connection, error: errors.RequestError) -> None:
        """Have a request refused that the application does not see."""
        self._waiting.leave(conn)
        self._unwatch(conn)
        self._refused.append((conn, error))

    def _refuse_now(self, conn: Connection, error: errors.RequestError) -> None:
        self._refuse_here(conn, error, bytes(conn.sock.inbox))
        self._send(conn, keep=False)
        self._finish(conn)

    def _on_readable(self, conn: Connection, _: object) -> None:
        if conn.place is None:
            return  # closed in this turn, or its probe has not had its turn yet
        is_there = conn.sock.fill()
        if conn.place is self._waiting.lingering:
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
        arriving, arrival = self._waiting.arriving, conn.arrival
        stage = self._intake.judge(arrival)
        if stage in _AWAITED:
            conn.tell_to_continue()
        if stage is Stage.PARTIAL:
            if conn.place is not arriving:
                self._wait(conn, arriving)
            return
        ends_s = conn.ends_s if conn.place is arriving else self._clock() + REQUEST_TIMEOUT_S
        self._waiting.leave(conn)
        if arrival.error:
            self._refuse(conn, arrival.error)
            return
        conn.parser.arrival = arrival if stage in _ALL_THERE else None
        if stage is Stage.PROBE:
            self._probes.append(conn)
            return
        self._unwatch(conn)
        conn.sock.waits_until_s = ends_s
        conn.has_to_close = stage is Stage.EARLY
        if stage is Stage.OPEN:
            self._waiting.enter(conn, self._waiting.queued, ends_s=ends_s)
            self._admit()
        else:
            self.tpool.submit(self._work, conn)

    def _admit(self) -> None:
        """Give threads to open requests, as far as their share goes."""
        queued = self._waiting.queued
        while queued and self._open_count < self._most_open:
            conn = next(iter(queued))
            self._waiting.leave(conn)
            self._open_count += 1
            conn.is_open = True
            self.tpool.submit(self._work, conn)

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
        """Answer one request; True when the connection may go on."""
        keep = self.respond(conn)
        try:
            conn.sock.flush()
        except OSError:
            # The main thread sends what is left, and notices who is gone.
            keep = False
        self._finish(conn)
        # After an end that was only a deadline, the rest of a body would look like the next request.
        return keep and not conn.sock.has_ended

    def _finish(self, conn: Connection) -> None:
        while conn.afterwards:
            self._do(conn.afterwards.pop(0))

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
        elif conn.place is not self._waiting.taking:
            self._unwatch(conn)
            self._waiting.enter(conn, self._waiting.taking)
            self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._on_writable, conn, keep))
            conn.is_watched = True

    def _on_writable(self, conn: Connection, keep: bool, _: object) -> None:  # noqa: FBT001 - called by the selector
        if conn.place is not self._waiting.taking:
            return  # closed in this turn
        self._send(conn, keep=keep)

    def _after(self, conn: Connection, *, keep: bool) -> None:
        """Wait for the next request, or for the client to close its side."""
        if conn.place is self._waiting.taking:
            self._waiting.leave(conn)
            self._unwatch(conn)
        if not keep:
            self._linger(conn)
            return
        conn.turn_over()
        if conn.sock.inbox:
            self._sort(conn)
        else:
            self._wait(conn, self._waiting.idle)
