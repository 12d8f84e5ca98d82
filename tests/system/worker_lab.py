"""What the tests of the worker serve: a small WSGI application, and a client that speaks bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from tests.fixtures.programs import Program, free_port, program
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


class Application:
    """``/health`` and ``/known`` may be answered on the main thread; ``/hang`` is a login that gets no answer."""

    main_thread_paths = ("/health", "/broken")

    def answers_at_once(self, environ: WSGIEnvironment) -> bool:
        """Return whether ``/known`` is asked for."""
        return bool(environ["PATH_INFO"] == "/known")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the name of the thread that does."""
        path = environ["PATH_INFO"]
        body = threading.current_thread().name.encode()
        if path == "/hang":
            time.sleep(float(parse_qs(environ["QUERY_STRING"])["s"][0]))
        elif path == "/echo":
            body = environ["wsgi.input"].read()
        elif path == "/afterwards":
            fifo = Path(parse_qs(environ["QUERY_STRING"])["fifo"][0])
            environ["velro_auth.afterwards"] += [self._fails, fifo.read_bytes, fifo.with_suffix(".done").touch]
        elif path == "/broken":
            start_response("200 OK", [("Content-Length", "10")])
            return self._breaks()
        elif path == "/medium":
            body = b"x" * 6_000_000
        elif path == "/large":
            body = b"x" * 20_000_000
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    def _fails(self) -> None:
        raise ValueError("after the answer")

    def _breaks(self) -> Iterator[bytes]:
        yield b"12345"
        raise ValueError("in the middle of the body")


app = Application()


@dataclass
class Served:
    """The application under gunicorn."""

    running: Program
    port: int

    def connect(self) -> socket.socket:
        """Open a connection that the test has to close."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def ask(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own and return what comes back until the server closes it."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(65536):
            data += more
    return data


def read_answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Read one answer; return its head and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        assert more, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head, body


@contextlib.contextmanager
def served(folder: Path, *options: str, worker_class: str = "velro_auth.server.worker.Worker") -> Iterator[Served]:
    """Serve the application with four threads, without the project's ``gunicorn.conf.py``."""
    port = free_port()
    empty = folder / "gunicorn.conf.py"
    empty.write_text("")
    command = ["-m", "gunicorn", "tests.system.worker_lab:app", "-c", str(empty), "--bind", f"127.0.0.1:{port}"]
    command += ["-k", worker_class, "--threads", "4", "--keep-alive", "75", "--no-control-socket", *options]
    # As the project has it; else gunicorn's own worker serves.
    command += ["--forwarded-allow-ips", "*"]
    with program(command, folder / "gunicorn.log") as running:
        site = Served(running, port)
        _await(site)
        yield site


def _await(site: Served) -> None:
    def is_listening() -> bool:
        assert site.running.process.poll() is None, site.running.output
        with contextlib.suppress(ConnectionRefusedError):
            site.ask(b"GET /health HTTP/1.0\r\n\r\n")
            return True
        return False

    eventually(is_listening, or_say=lambda: site.running.output)


def workers_of(running: Program) -> list[int]:
    """Return the process ids of the workers."""
    pid = running.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_background(target: Any, *args: Any) -> threading.Thread:
    """Run *target* in a thread that the test joins."""
    thread = threading.Thread(target=target, args=args)
    thread.start()
    return thread
