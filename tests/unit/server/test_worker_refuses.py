"""The worker's main thread: requests that do not arrive, that are refused, and that make room."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from velro_auth import errors
from velro_auth.context import AFTERWARDS, REFUSED
from velro_auth.server.connection import Connection, DeadlineQueues
from velro_auth.server.refusals import Refuser
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.thread_pool import CallbackQueue
from velro_auth.server.worker import REFUSALS_PER_TURN, Worker

LARGE = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n1"
WHOLE = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"


class Clock:
    """A clock that is moved by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class PoolDouble:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Connection] = []
        self.filled = 0

    def fill(self) -> None:
        self.filled += 1

    def shutdown(self) -> None:
        """Have nothing to end."""

    def submit(self, _: Callable[[Connection], None], conn: Connection) -> None:
        self.given.append(conn)


class Small(Worker):
    """A worker of one thread and eight connections, by a clock that is moved by hand."""

    def __init__(self, clock: Clock, poller: selectors.BaseSelector) -> None:
        cfg = Config()
        cfg.set("worker_connections", 8)
        super().__init__(1, os.getpid(), [], None, 30, cfg, SimpleNamespace(info=lambda *_: None))
        self.poller = poller
        self._pool = PoolDouble()  # type: ignore[assignment] # all that is used of one
        self._clock = clock
        self._queues = DeadlineQueues(idle_s=75.0, clock=clock)
        self._refuser = Refuser(lambda _, __: [])
        self._parser_settings = ParserSettings(cfg)

    def __new__(cls, *_: Any) -> Any:
        """Return one; the other arguments are gunicorn's."""
        return object.__new__(cls)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock: Clock) -> Iterator[Small]:
    with selectors.DefaultSelector() as poller:
        made = Small(clock, poller)
        yield made
        made.tmp.close()


Arrives = Callable[[bytes], tuple[Connection, socket.socket]]


@pytest.fixture
def arrives(worker: Small) -> Iterator[Arrives]:
    """Return a function that lets a client connect and send."""
    with contextlib.ExitStack() as stack:

        def arrive(data: bytes) -> tuple[Connection, socket.socket]:
            ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
            theirs.settimeout(60)
            conn = Connection(ours, ("127.0.0.1", 1), ("127.0.0.1", 2), worker._parser_settings)
            worker.connection_count += 1
            conn.inbox += data
            worker._route(conn)
            return conn, theirs

        yield arrive


def test_a_request_that_does_not_arrive_is_refused_when_its_time_is_up(
    worker: Small, clock: Clock, arrives: Arrives
) -> None:
    clients = [arrives(LARGE)[1] for _ in range(3)]
    clock.now_s += 10

    for _ in range(2):
        worker._turn(wait_s=0)

    assert worker._pool.given == []  # type: ignore[attr-defined]
    for client in clients:
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_request_that_does_not_arrive_makes_room(worker: Small, clock: Clock, arrives: Arrives) -> None:
    _, client = arrives(LARGE)
    clock.now_s += 1
    whole, _ = arrives(WHOLE)

    assert worker._evict_one()

    assert client.recv(1000) == b""
    assert worker.connection_count == 1
    assert whole in worker._pool.given  # type: ignore[attr-defined]
    assert not worker._evict_one()


def test_large_bodies_share_a_limited_memory(worker: Small, arrives: Arrives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("velro_auth.server.worker.LARGE_BODIES_BYTES", 300_000)
    large = LARGE.replace(b"70000", b"200000") + b"x" * 140_000
    first, _ = arrives(large)
    second, _ = arrives(large)
    third, client = arrives(large)
    small, _ = arrives(LARGE)

    worker._turn(wait_s=0)

    waiting = [conn.queue is worker._queues.receiving for conn in (first, second, third, small)]
    assert waiting == [True, True, False, True]
    assert client.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_requests_that_are_refused_are_answered_a_few_at_a_time_and_make_room_first(
    worker: Small, arrives: Arrives
) -> None:
    clients = [arrives(b"\x16\x03\x01")[1] for _ in range(REFUSALS_PER_TURN + 3)]
    partial, _ = arrives(LARGE[:40])

    assert worker._evict_one()
    worker._turn(wait_s=0)

    assert clients[0].recv(1000) == b""
    for client in clients[1 : REFUSALS_PER_TURN + 1]:
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert [len(worker._refused), partial.queue is worker._queues.receiving] == [2, True]


def test_a_request_is_refused_by_what_is_known_of_it(worker: Small, arrives: Arrives) -> None:
    told: list[tuple[Exception, bytes]] = []

    class Listening(Refuser):
        def answer(self, error: Exception, head: bytes, *rest: Any) -> bytes:
            told.append((error, head))
            return super().answer(error, head, *rest)

    worker._refuser = Listening(lambda _, __: [])
    arrives(b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n")

    worker._turn(wait_s=0)

    ((error, head),) = told
    assert type(error) is errors.HeadersTooLarge
    assert head.startswith(b"GET / HTTP/1.1\r\n")


def test_threads_that_are_missing_are_tried_again_once_a_second(worker: Small, clock: Clock) -> None:
    for _ in range(20):
        worker._beat()
        clock.now_s += 0.25

    assert worker._pool.filled == 5  # type: ignore[attr-defined]


def test_an_answer_that_cannot_be_written_is_recorded_once(worker: Small, arrives: Arrives) -> None:
    """The application recorded it; what is sent is the answer to the defect."""
    records: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        has_failed = REFUSED in environ
        environ[AFTERWARDS].append(lambda: records.append("defect" if has_failed else "never sent"))
        start_response("200 OK", [("X-Made-Up", "" if has_failed else "a\nb")])
        return [b""]

    application.answers_refusals = True  # type: ignore[attr-defined]
    worker.wsgi = application
    worker._refuser = Refuser(application)
    conn, _theirs = arrives(WHOLE)

    worker.handle(conn)

    assert records == ["defect"]


def test_a_second_signal_to_stop_finds_the_pipe_open(worker: Small) -> None:
    """A late answer of a thread does too."""
    worker._callbacks = CallbackQueue()
    worker.sockets = []
    worker.alive = False

    worker.run()

    worker.handle_exit(15, None)


@pytest.mark.parametrize("number", [errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ECONNABORTED])
def test_a_network_error_of_a_new_connection_ends_nothing(worker: Small, number: int) -> None:
    """accept(2): Linux passes network errors that are pending on the new socket."""

    def accept() -> None:
        raise OSError(number, os.strerror(number))

    assert worker._accept_one(SimpleNamespace(accept=accept)) is False
