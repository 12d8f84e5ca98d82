"""What honest clients notice while a crowd of sockets promises a body and sends one byte of it.

Run ``python benchmarks/promises.py`` on a quiet machine; it takes about two minutes. For each size of the crowd and
each promise one gateway is started with a double of Supabase. The crowd connects, promises, and holds its connections;
with ``--again`` each that is closed connects anew. Meanwhile honest clients log in, ask ``verify`` and probe, each
request on a connection of its own, at a steady rate, timed from when it was due.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
HONEST_S: Final = 12.0
HONEST_PER_S: Final = 25
GIVE_UP_S: Final = 10.0
#: Kind of honest request → its right answer.
GOOD: Final = {"login": 200, "continue": 200, "verify": 401, "health": 200}


class Crowd:
    """Sockets that promise a body and hold on.

    Args:
        port: Where the gateway listens.
        count: How many.
        promise: The length that they promise, in bytes.
    """

    def __init__(self, port: int, count: int, promise: int) -> None:
        self._port, self._count = port, count
        self._poller = selectors.DefaultSelector()
        self._head = (
            f"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            f"Content-Length: {promise}\r\n\r\n{{"
        ).encode()

    def __call__(self, is_up: Any, is_over: Any, *, again: bool) -> None:
        """Connect all, say when half of them are, and hold on until it is over."""
        for number in range(self._count):
            self._join()
            if number == self._count // 2:
                is_up.set()
        while not is_over.is_set():
            self._look()
            missing = self._count - len(self._poller.get_map()) if again else 0
            for _ in range(min(50, missing)):
                self._join()

    def _join(self) -> None:
        sock = socket.socket()
        sock.settimeout(GIVE_UP_S)
        try:
            sock.connect(("127.0.0.1", self._port))
            sock.sendall(self._head)
        except OSError:
            sock.close()
            return
        self._poller.register(sock, selectors.EVENT_READ)

    def _look(self) -> None:
        for key, _ in self._poller.select(0.05):
            sock: Any = key.fileobj
            try:
                has_ended = not sock.recv(65536)
            except OSError:
                has_ended = True
            if has_ended:
                self._poller.unregister(sock)
                sock.close()


def ask(port: int, number: int, due_s: float) -> tuple[str, int, float]:
    """Send one honest request; return its kind, its status (0 when there is none) and how long it took."""
    # Each its own account and network: no limit on guesses is measured here.
    body = json.dumps({"email": f"user-{number}@example.com", "password": "correct horse battery staple"})
    host = f"Host: a\r\nX-Real-IP: 198.{number % 200}.{number // 200}.7\r\n"
    kinds = {
        "login": f"POST /api/v1/auth/login HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}",
        "continue": f"POST /api/v1/auth/login HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n",
        "verify": f"GET /api/v1/auth/verify HTTP/1.1\r\n{host}Content-Length: 20\r\n\r\n",
        "health": f"GET /health HTTP/1.1\r\n{host}\r\n",
    }
    kind = list(kinds)[number % len(kinds)]
    status = 0
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP_S) as client:
            client.sendall(kinds[kind].encode())
            answer = client.recv(65536)
            if answer.startswith(b"HTTP/1.1 100 "):
                client.sendall(body.encode())
                answer = client.recv(65536)
            status = int(answer[9:12] or 0)
    except OSError:
        pass
    return kind, status, time.monotonic() - due_s


def honest(port: int) -> list[tuple[str, int, float]]:
    """Send honest requests at a steady rate."""
    started_s = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        waits = []
        for number in range(int(HONEST_S * HONEST_PER_S)):
            due_s = started_s + number / HONEST_PER_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            waits.append(pool.submit(ask, port, number, due_s))
        return [wait.result() for wait in waits]


def measure(port: int, count: int, promise: int, *, again: bool) -> dict[str, Any]:
    """Let the crowd come, then ask."""
    is_up, is_over = multiprocessing.Event(), multiprocessing.Event()
    attack = multiprocessing.Process(target=Crowd(port, count, promise), args=(is_up, is_over), kwargs={"again": again})
    if count:
        attack.start()
        is_up.wait(30)
    answers = honest(port)
    is_over.set()
    if count:
        attack.join()
    took = sorted(took_s for kind, status, took_s in answers if status == GOOD[kind])
    return {
        "crowd": count,
        "promise": promise,
        "again": again,
        "answered_percent": round(100 * len(took) / len(answers), 1),
        "p50_ms": round(statistics.median(took) * 1000, 1) if took else None,
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1) if took else None,
        "longest_ms": round(took[-1] * 1000, 1) if took else None,
        "others": sorted({(kind, status) for kind, status, _ in answers if status != GOOD[kind]}),
    }


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(*command: str, tree: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of ours until the block ends."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},  # noqa: TID251 - handed on
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def gateway(tree: Path) -> Iterator[int]:
    """Run the gateway of the checkout *tree* with a double of Supabase; return its port."""
    port, upstream = free_port(), free_port()
    url = f"http://127.0.0.1:{upstream}"
    settings = {
        "SUPABASE_URL": url,
        "SUPABASE_SECRET_KEY": "sb_secret_0123456789012345678901",
        "LOG_LEVEL": "warning",
        "AUTH_UPSTREAM_QUOTA": "off",
    }
    double = ("benchmarks.upstream", "--port", str(upstream), "--issuer", f"{url}/auth/v1", "--delay-ms", "20")
    command = ("gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}")
    with running(*double, tree=ROOT), running(*command, tree=tree, **settings) as process:
        ends_s = time.monotonic() + 60
        while ask(port, 3, 0.0)[1] != GOOD["health"]:
            assert process.poll() is None, "the gateway has ended"
            assert time.monotonic() < ends_s, "the gateway does not answer"
            time.sleep(0.1)
        yield port


def main() -> None:
    """Measure and print one JSON line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="the crowd comes back when it is sent away")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout that is measured")
    parser.add_argument("--crowds", type=int, nargs="*", default=[0, 1100, 2600])
    options = parser.parse_args()
    for count in options.crowds:
        for promise in (15_000, 70_000) if count else (0,):
            with gateway(options.tree) as port:
                found = measure(port, count, promise, again=options.again)
            print(json.dumps(found), flush=True)  # noqa: T201 - a program for people


if __name__ == "__main__":
    main()
