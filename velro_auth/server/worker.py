"""gunicorn's threaded worker, rebuilt so that clients wait in the selector and not in a thread.

A few clients can stop gunicorn's ``gthread``. A client that sends nothing holds a pool thread for 5 s. A client that
asks for ``Connection: close`` and stays connected holds the main thread for 2 s (measured with 27.0.1: one such client
per half second slows a probe from 1 ms to 3 s). Here a thread gets a request only when the request has arrived. The
main thread answers the probes of load balancers, so probes never wait behind logins. See
``docs/explanation/worker.md``.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from velro_auth import errors
from velro_auth.context import AFTERWARDS
from velro_auth.server.admission import AdmittingWorker
from velro_auth.server.compatibility import PlainWorker, incompatibility
from velro_auth.server.connection import Connection
from velro_auth.server.dispatch import respond
from velro_auth.server.refusals import Refuser
from velro_auth.server.request_parser import Progress
from velro_auth.server.thread_pool import CallbackQueue, Pool

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: How much is read of a connection that we have closed.
LINGER_BYTES: Final = 64 * 1024
#: Probes answered before the sockets are looked at again, so that many probes do not keep logins out. The first number
#: also holds for other requests that are answered at once; the second is for refusals, which take ten times as long.
PROBES_PER_TURN: Final = 16
REFUSALS_PER_TURN: Final = 4
#: How often the worker tells the master that it lives; the master waits for gunicorn's ``timeout``, 30 s here.
BEAT_S: Final = 1.0
#: A body up to the first size is small. All larger bodies that arrive at the same time share the second size in memory.
SMALL_BODY_BYTES: Final = 64 * 1024
LARGE_BODIES_BYTES: Final = 64 * 1024 * 1024

_SERVER: Final = "Server: gunicorn\r\n"


class Worker(AdmittingWorker):
    """Serves an application.

    The application may have these attributes:

    * ``main_thread_paths``: paths whose answers are fast and never block.
    * ``answers_at_once``: returns whether the answer to a complete request is fast and does not block.
    * ``body_limits``: (method, path) → largest body. A larger body is refused before it is read. The worker does not
      wait for the body of any other request.
    * ``answers_refusals``, ``refusal_fields``: see ``velro_auth.server.refusals``.
    """

    def __new__(cls, *args: Any) -> Any:
        """Return a worker; gunicorn's own where this one cannot serve (gunicorn calls it as it calls a class)."""
        *_, cfg, log = args
        if reason := incompatibility(cfg):
            log.warning("the plain threaded worker is used: %s", reason)
            return PlainWorker(*args)
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._probes: deque[Connection] = deque()
        self._prompt: deque[Connection] = deque()
        self._answers_at_once: Callable[[WSGIEnvironment], bool] | None = None
        self._next_beat_s = 0.0
        self._max_idle = self._max_connections - self.cfg.threads

    def init_process(self) -> None:
        """Prepare this process, which was forked for the worker, then serve."""
        self.poller = selectors.DefaultSelector()
        self._callbacks = CallbackQueue()
        self._pool = Pool(self.cfg.threads)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, which writes the answers to refused requests."""
        super().load_wsgi()
        self._refuser = Refuser(self.wsgi)
        self._answers_at_once = getattr(self.wsgi, "answers_at_once", None)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop, on SIGTERM."""
        super().handle_exit(sig, frame)
        # Wakes the main thread.
        self._callbacks.defer(lambda: None)

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to stop, then finish the accepted requests."""
        self.poller.register(self._callbacks, selectors.EVENT_READ, self._callbacks.run)
        while self.alive and self._beat():
            self._turn(wait_s=self._look_for_clients())
        self._stop_accepting()
        ends_s = self._clock() + self.cfg.graceful_timeout
        while self.connection_count and self._clock() < ends_s:
            self._beat()
            self._turn(wait_s=0.1)
        self._pool.shutdown()
        # Not the pipe of the callbacks: another SIGTERM, or a late answer, may still write to it.
        self.poller.close()

    def _beat(self) -> bool:
        """Once a second, tell the master that this worker lives; False when the master is gone.

        gunicorn does so each turn. That costs two system calls a request. In the first of them, the main thread gives
        the interpreter's lock to the thread that answers, and then takes it back.
        """
        now_s = self._clock()
        if now_s < self._next_beat_s:
            return True
        self._next_beat_s = now_s + BEAT_S
        self._pool.fill()
        self.notify()
        if self.ppid == os.getppid():
            return True
        self.log.info("Parent changed, shutting down: %s", self)
        return False

    def _turn(self, *, wait_s: float) -> None:
        for key, _ in self.poller.select(0 if self._probes or self._prompt or self._refused else wait_s):
            key.data(key.fileobj)
        # Probes first. All are answered before any is logged: no answer waits for a log line, and it takes less time.
        jobs: list[Callable[[], object]] = []
        for waiting in (self._probes, self._prompt):
            for _ in range(min(len(waiting), PROBES_PER_TURN)):
                conn = waiting.popleft()
                keep = self._answer(conn)
                jobs += conn.take_afterwards()
                self._send(conn, keep=keep)
        self._call(jobs)
        for _ in range(min(len(self._refused), REFUSALS_PER_TURN)):
            self._answer_refused(*self._refused.popleft())
        while expired := self._queues.next_expired():
            if expired.queue is self._queues.receiving:
                self._refuse(expired, errors.RequestTimeout("did not arrive in time"))
            else:
                self._close(expired)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_readable(self, conn: Connection, _: object) -> None:
        if conn.queue is None:
            return  # Closed in this turn, or its probe waits for the end of the turn.
        conn.receive()
        if conn.queue is self._queues.lingering:
            conn.drained_bytes += len(conn.inbox)
            conn.inbox.clear()
            if conn.has_ended or conn.drained_bytes > LINGER_BYTES:
                self._close(conn)
        elif conn.has_ended:
            self._close(conn)
        else:
            self._route(conn)

    def _route(self, conn: Connection) -> None:
        """Read the request as far as it has arrived, and pass it on when it is complete."""
        parser = conn.parser
        progress = parser.feed(conn.inbox)
        if progress is Progress.PARTIAL:
            conn.send_continue()
            if conn.queue is not self._queues.receiving:
                self._wait(conn, self._queues.receiving)
            if not self._has_memory_for(conn):
                self._refuse(conn, errors.Busy("large bodies"))
            return
        if parser.error:
            self._refuse(conn, parser.error)
            return
        self._queues.remove(conn)
        if parser.is_probe:
            self._probes.append(conn)
        elif progress is Progress.COMPLETE and self._is_prompt(parser.environ):
            self._prompt.append(conn)
        else:
            self._unwatch(conn)
            self._pool.submit(self._work, conn)

    def _is_prompt(self, environ: WSGIEnvironment) -> bool:
        """Whether the main thread may answer: handing a request to a thread costs more than a short answer."""
        try:
            return self._answers_at_once is not None and self._answers_at_once(environ)
        except Exception:
            self.log.exception("a request could not be looked at; a thread answers it")
            return False

    def _has_memory_for(self, conn: Connection) -> bool:
        """Whether what has arrived of a large body may be kept; the total is only added up for large bodies."""
        if len(conn.parser.body) <= SMALL_BODY_BYTES:
            return True
        return sum(len(other.parser.body) for other in self._queues.receiving) <= LARGE_BODIES_BYTES

    def _work(self, conn: Connection) -> None:
        """Answer a request. Runs in a pool thread."""
        keep = False
        try:
            keep = self.handle(conn)
        finally:
            self._callbacks.defer(partial(self._send, conn, keep=keep))

    def handle(self, conn: Connection) -> bool:
        """Answer one request, and run its callbacks; True when the connection may be kept."""
        keep = self._answer(conn)
        self._call(conn.take_afterwards())
        return keep

    def _answer(self, conn: Connection) -> bool:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        may_keep = self.alive and bool(self.cfg.keepalive) and len(self._queues.idle) < self._max_idle
        parser = conn.parser
        keep = may_keep and parser.keeps_alive and parser.progress is Progress.COMPLETE
        try:
            parser.environ[AFTERWARDS] = conn.afterwards
            answer, keep = respond(self.wsgi, parser.environ, keep=keep, server=_SERVER)
        except Exception as error:  # noqa: BLE001 - the refuser logs a defect
            # They would record an answer that is not sent.
            conn.afterwards.clear()
            answer, keep = self._refusal(conn, error), False
        conn.outbox += answer
        try:
            conn.flush()
        except OSError:
            # The main thread sends the rest, and notices that the client is gone.
            keep = False
        return keep

    def _refusal(self, conn: Connection, error: Exception) -> bytes:
        return self._refuser.answer(error, conn.parser.head, conn.client, conn.server, conn.afterwards)

    def _refuse(self, conn: Connection, error: errors.VelroAuthError) -> None:
        """Answer, in one of the next turns, a request that the application does not see."""
        self._queues.remove(conn)
        self._unwatch(conn)
        self._refused.append((conn, error))

    def _answer_refused(self, conn: Connection, error: errors.VelroAuthError) -> None:
        conn.outbox += self._refusal(conn, error)
        self._send(conn, keep=False)
        self._call(conn.take_afterwards())

    def _call(self, jobs: Iterable[Callable[[], object]]) -> None:
        for job in jobs:
            try:
                job()
            except Exception:
                # The response is sent; the connection is not the reason.
                self.log.exception("a callback after a response failed")

    # -- responses --------------------------------------------------------------------------------------------------

    def _send(self, conn: Connection, *, keep: bool) -> None:
        """Send the rest of a response; a slow client waits in the selector, up to a limit."""
        try:
            is_sent = conn.flush()
        except OSError:
            self._close(conn)
            return
        if is_sent:
            self._on_sent(conn, keep=keep)
        elif conn.queue is not self._queues.sending:
            self._unwatch(conn)
            self._queues.add(conn, self._queues.sending)
            self._watch(conn, selectors.EVENT_WRITE, partial(self._on_writable, conn, keep))

    def _on_writable(self, conn: Connection, keep: bool, _: object) -> None:  # noqa: FBT001 - called by the selector
        if conn.queue is self._queues.sending:  # Otherwise closed in this turn.
            self._send(conn, keep=keep)

    def _on_sent(self, conn: Connection, *, keep: bool) -> None:
        """Wait for the next request, or for the client to close its side."""
        if conn.queue is self._queues.sending:
            self._queues.remove(conn)
            self._unwatch(conn)
        if not keep:
            self._linger(conn)
            return
        conn.expect_next_request()
        if conn.inbox:
            self._route(conn)
        else:
            self._wait(conn, self._queues.idle)
