"""The worker's main thread: which requests it answers itself, and in which order."""

from __future__ import annotations

import gc
import os
import selectors
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config

from velro_auth.server.connection import Connection
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import RequestParser
from velro_auth.server.worker import PROBES_PER_TURN, Worker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()


class Application:
    """Answers ``/probe`` and ``/known`` at once; fails to say so of ``/puzzle``."""

    main_thread_paths = ("/probe",)

    def __init__(self) -> None:
        self.answered: list[str] = []

    def answers_at_once(self, environ: WSGIEnvironment) -> bool:
        if environ["PATH_INFO"] == "/puzzle":
            raise ValueError("a defect")
        return bool(environ["PATH_INFO"] == "/known")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.answered.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]


class Unthreaded(Worker):
    """A worker whose pool keeps what it is given."""

    def __init__(self, poller: selectors.BaseSelector, app: Application) -> None:
        cfg = Config()
        self.logged: list[str] = []
        log = SimpleNamespace(info=lambda *_: None, exception=self.logged.append)
        super().__init__(1, os.getpid(), [], None, 30, cfg, log)
        self.poller, self.wsgi = poller, app
        self.given: list[Connection] = []
        self._pool = SimpleNamespace(submit=lambda _, conn: self.given.append(conn))  # type: ignore[assignment]
        self._parser_settings = ParserSettings(cfg, app.main_thread_paths, dict)
        self._answers_at_once = app.answers_at_once

    def __new__(cls, *_: Any) -> Any:
        """Return one; the other arguments are gunicorn's."""
        return object.__new__(cls)


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def worker(app: Application) -> Iterator[Unthreaded]:
    with selectors.DefaultSelector() as poller:
        made = Unthreaded(poller, app)
        yield made
        made.tmp.close()


Arrives = Callable[[bytes], Connection]


@pytest.fixture
def arrives(worker: Unthreaded) -> Iterator[Arrives]:
    """Return a function that lets a client connect and send."""
    sockets: list[socket.socket] = []

    def arrive(data: bytes) -> Connection:
        pair = socket.socketpair()
        sockets.extend(pair)
        conn = Connection(pair[0], ("127.0.0.1", 1), ("127.0.0.1", 2), worker._parser_settings)
        worker.connection_count += 1
        conn.inbox += data
        worker._route(conn)
        return conn

    yield arrive
    for one in sockets:
        one.close()


def test_what_the_application_answers_at_once_needs_no_thread(
    worker: Unthreaded, app: Application, arrives: Arrives
) -> None:
    arrives(get("/known"))
    other = arrives(get("/other"))
    # Its body is not read, so the connection is closed after the answer, which may take a while.
    with_body = arrives(get("/known", "Content-Length: 5\r\n"))

    worker._turn(wait_s=0)

    assert app.answered == ["/known"]
    assert worker.given == [other, with_body]


def test_probes_come_first_and_others_are_bounded_too(worker: Unthreaded, app: Application, arrives: Arrives) -> None:
    for _ in range(PROBES_PER_TURN + 3):
        arrives(get("/known"))
    arrives(get("/probe"))

    worker._turn(wait_s=0)
    assert app.answered == ["/probe", *["/known"] * PROBES_PER_TURN]
    arrives(get("/probe"))
    worker._turn(wait_s=0)

    assert app.answered[PROBES_PER_TURN + 1 :] == ["/probe", *["/known"] * 3]


def test_an_application_that_cannot_say_does_not_stop_the_main_thread(worker: Unthreaded, arrives: Arrives) -> None:
    conn = arrives(get("/puzzle"))

    assert worker.given == [conn]
    assert len(worker.logged) == 1


def test_an_application_need_not_say(worker: Unthreaded, arrives: Arrives) -> None:
    worker._answers_at_once = None

    conn = arrives(get("/known"))

    assert worker.given == [conn]
    assert worker.logged == []


def test_a_request_that_is_read_is_freed_without_a_garbage_collection() -> None:
    """Else all that hangs on it stays until one: its environment, its head, its body."""
    parser = RequestParser(ParserSettings(Config()), {})
    parser.feed(bytearray(get("/")))
    left = weakref.ref(parser)

    gc.disable()
    try:
        del parser
        assert left() is None
    finally:
        gc.enable()
