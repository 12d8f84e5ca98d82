"""How long a probe takes while clients misbehave, and what pinning and our worker class are worth.

Run ``python benchmarks/worker.py`` on a quiet machine with two cores or more; it takes about five minutes. All
servers are up at once and measured in turns; figures are medians over the rounds, to be compared with each
other within one run only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROOT: Final = Path(__file__).resolve().parent.parent
HEALTH: Final = (
    b"GET /health HTTP/1.1\r\nHost: auth.example.com\r\nAccept: */*\r\nUser-Agent: probe/1.0\r\n"
    b"X-Real-IP: 203.0.113.7\r\nX-Request-ID: 0123456789abcdef\r\nX-Forwarded-Proto: https\r\n"
)
KEPT: Final = HEALTH + b"\r\n"
CLOSED: Final = HEALTH + b"Connection: close\r\n\r\n"
HANG: Final = b"GET /hang HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POOLED: Final = KEPT.replace(b"/health", b"/pooled")
HANG_S: Final = 4.0
PROBES_PER_S: Final = 20
GIVE_UP_S: Final = 10.0


class Application:
    """The gateway, with one path whose threads hang as logins do while Supabase does not answer."""

    main_thread_paths = ("/health",)

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] == "/hang":
            time.sleep(HANG_S)
        if environ["PATH_INFO"] in {"/hang", "/pooled"}:
            environ["PATH_INFO"] = "/health"
        return self._app(environ, start_response)


def application() -> Application:
    """Build what gunicorn serves here: probes need no settings."""
    from velro_auth.app import create_app  # noqa: PLC0415 - the load generator does not need it
    from velro_auth.config.settings import Settings  # noqa: PLC0415

    return Application(create_app(Settings.from_environment({"LOG_LEVEL": "error"})))


@dataclass
class Server:
    """One way to run it."""

    name: str
    worker_class: str
    is_pinned: bool
    port: int = 0
    pid: int = 0
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, figure: str, value: float) -> None:
        """Keep one round's value."""
        self.figures.setdefault(figure, []).append(value)


@contextlib.contextmanager
def running(server: Server, folder: Path) -> Iterator[None]:
    """Run gunicorn with 32 threads and the project's settings."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.port = free.getsockname()[1]
    config = folder / f"{server.port}.py"
    unpinned = "" if server.is_pinned else "post_fork = lambda server, worker: None\n"
    config.write_text(f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())\n{unpinned}")
    command = ["-m", "gunicorn", "benchmarks.worker:application()", "-c", str(config), "-k", server.worker_class]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *command, "--bind", f"127.0.0.1:{server.port}", "--threads", "32"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ask(server.port)[1] and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} did not start")
        server.pid = process.pid
        settle(server)
        yield
    finally:
        process.terminate()
        process.wait(60)


def ask(port: int, request: bytes = CLOSED, timeout_s: float = GIVE_UP_S) -> tuple[float, bool]:
    """Send one request on a new connection; return how long it took, in seconds, and whether there was an answer."""
    started_s, is_answered = time.perf_counter(), False
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
        client.sendall(request)
        is_answered = bool(client.recv(65536))
    return time.perf_counter() - started_s, is_answered


def settle(server: Server) -> None:
    """Wait until three probes in a row are quick: what one measurement left behind is no part of the next."""
    quick = 0
    while quick < 3:  # noqa: PLR2004
        took_s, is_answered = ask(server.port)
        quick = quick + 1 if is_answered and took_s < 0.05 else 0  # noqa: PLR2004
        time.sleep(0.05)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of all are not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def probe(server: Server, seconds: float, figure: str) -> None:
    """Send probes at a fixed rate, each on a connection of its own, whether the former came back or not."""
    took_s: list[float] = []

    def one(due_s: float) -> None:
        ask(server.port)
        took_s.append(time.perf_counter() - due_s)

    threads = []
    start_s = time.perf_counter()
    for number in range(int(seconds * PROBES_PER_S)):
        due_s = start_s + number / PROBES_PER_S
        time.sleep(max(0.0, due_s - time.perf_counter()))
        threads.append(threading.Thread(target=one, args=(due_s,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    server.note(f"{figure} p50 ms", percentile(took_s, 0.5) * 1000)
    server.note(f"{figure} p99 ms", percentile(took_s, 0.99) * 1000)


@contextlib.contextmanager
def hanging(server: Server) -> Iterator[None]:
    """Twice as many logins as threads, all waiting for Supabase."""
    threads = [threading.Thread(target=ask, args=(server.port, HANG, 60)) for _ in range(64)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    yield
    for thread in threads:
        thread.join()


def arriving(per_s: int, sent: bytes) -> Callable[[Server], contextlib.AbstractContextManager[None]]:
    """Open so many connections a second, send *sent* on each and stay."""

    @contextlib.contextmanager
    def arrive(server: Server) -> Iterator[None]:
        is_over = threading.Event()
        opened: list[socket.socket] = []

        def open_them() -> None:
            while not is_over.wait(1 / per_s):
                with contextlib.suppress(OSError):
                    opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=GIVE_UP_S))
                    opened[-1].sendall(sent)

        thread = threading.Thread(target=open_them)
        thread.start()
        # As long as gunicorn's worker needs to run out of 32 threads at 10 a second.
        time.sleep(4)
        yield
        is_over.set()
        thread.join()
        for sock in opened:
            sock.close()

    return arrive


CONDITIONS: Final[dict[str, Callable[[Server], contextlib.AbstractContextManager[object]]]] = {
    "quiet": contextlib.nullcontext,
    "64 logins hang": hanging,
    "10/s silent": arriving(10, b""),
    "8/s close and stay": arriving(8, CLOSED),
}


def processor_s(server: Server) -> float:
    """Return the processor time that the server's workers have used."""
    pid = server.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = [Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[11:13] for worker in workers]
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


def throughput(server: Server, seconds: float, connections: int, request: bytes, figure: str) -> None:
    """Ask again as soon as an answer is there, on kept connections."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ, [b"", time.perf_counter()])
            client.sendall(request)
        took_s: list[float] = []
        used_s = processor_s(server)
        start_s = time.perf_counter()
        while (now_s := time.perf_counter()) - start_s < seconds:
            for key, _ in selector.select(1):
                if _is_answered(key, now_s, took_s):
                    key.fileobj.sendall(request)  # type: ignore[union-attr] # a socket
    server.note(f"{figure} requests/s", len(took_s) / seconds)
    # What other work on the machine disturbs least.
    server.note(f"{figure} CPU us", (processor_s(server) - used_s) / len(took_s) * 1e6)
    server.note(f"{figure} p99 ms", percentile(took_s, 0.99) * 1000)


def _is_answered(key: selectors.SelectorKey, now_s: float, took_s: list[float]) -> bool:
    sock: Any = key.fileobj
    key.data[0] += sock.recv(65536)
    # Every answer here is one JSON object.
    if not key.data[0].endswith(b"}"):
        return False
    took_s.append(now_s - key.data[1])
    key.data[:] = [b"", now_s]
    return True


def servers() -> list[Server]:
    """Return what is compared."""
    ours = "velro_auth.server.worker.Worker"
    return [
        Server("gthread", "gthread", is_pinned=False),
        Server("gthread, pinned", "gthread", is_pinned=True),
        Server("ours", ours, is_pinned=False),
        Server("ours, pinned", ours, is_pinned=True),
    ]


def measure(compared: Sequence[Server], rounds: int) -> None:
    """Go through all measurements, the order of the servers turned each round."""
    for number in range(rounds):
        for server in compared if number % 2 else reversed(compared):
            for connections in (1, 8, 64):
                throughput(server, 1.5, connections, KEPT, f"/health c{connections}")
            throughput(server, 1.5, 8, POOLED, "pooled c8")
        for condition, during in CONDITIONS.items():
            for server in compared[::3]:
                with during(server):
                    probe(server, 2.0, condition)
                settle(server)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)  # noqa: T201 - a script


def main() -> None:
    """Measure, print medians and the ratios to the first server, and write them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    compared = servers()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for server in compared:
            stack.enter_context(running(server, folder))
        measure(compared, given.rounds)
    medians = {
        server.name: {figure: statistics.median(values) for figure, values in server.figures.items()}
        for server in compared
    }
    for figure in compared[0].figures:
        base = medians[compared[0].name][figure]
        found = {name: values[figure] for name, values in medians.items() if figure in values}
        cells = [f"{name} {value:.2f} ({value / base:.3g}x)" for name, value in found.items()]
        print(f"{figure:28}", " | ".join(cells))  # noqa: T201 - a script
    if given.json:
        given.json.write_text(
            json.dumps({"cores": os.cpu_count(), "rounds": given.rounds, "medians": medians}, indent=1)
        )


if __name__ == "__main__":
    main()
