"""Load on one port of this machine: an open loop for latency, a closed one for throughput."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.wire import Line, Question, Reading
from velro_auth.ops.bench.figures import percentile
from velro_auth.ops.bench.openloop import Answer, OpenLoop, Sample
from velro_auth.ops.bench.schedule import Arrival, poisson

_THREADS: Final = 64
_SUCCESS: Final = 200
_TIMEOUT_S: Final = 10.0
#: After the last request was due; what was not sent by then is lost.
_GRACE_S: Final = 5.0

Questions = Iterator[Question]


class Caller:
    """Sends questions over kept connections, the most recently used first. Safe for any number of threads.

    Args:
        port: Where on this machine.
        questions: What to ask, one after the other.
    """

    def __init__(self, port: int, questions: Questions) -> None:
        self._port = port
        self._questions = questions
        self._idle: list[Line] = []
        self.mixed_up = 0

    def __call__(self, _: Arrival) -> Answer:
        """Ask the next question; once more on a new connection if a kept one had been closed meanwhile."""
        question = next(self._questions)
        try:
            return self._ask(question, self._idle.pop())
        except (IndexError, ConnectionError):
            pass
        except OSError:
            return Answer(None, failure="timeout")
        try:
            return self._ask(question, Line(self._port, timeout_s=_TIMEOUT_S))
        except OSError:
            return Answer(None, failure="connection")

    def _ask(self, question: Question, line: Line) -> Answer:
        try:
            status, body = line.ask(question.request)
        except OSError:
            line.close()
            raise
        self._idle.append(line)
        if not question.is_answered_by(status, body):
            # A success, and somebody else's.
            self.mixed_up += status == question.status
            return Answer(status, code="wrong answer")
        # The statistics know one success only.
        return Answer(_SUCCESS)

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()


def open_loop(port: int, questions: Questions, *, rps: float, duration_s: float, seed: int) -> list[Sample]:
    """Ask at random moments, *rps* times a second on average, and return what came of it."""
    arrivals = poisson(rate_per_s=rps, duration_s=duration_s, mix={"good": 1}, seed=seed)
    with contextlib.closing(Caller(port, questions)) as caller:
        # The first one opens the connection, for everybody alike.
        caller(Arrival(0.0, "good"))
        return OpenLoop(arrivals, caller, threads=_THREADS, give_up_after_s=duration_s + _GRACE_S).run()


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a closed loop came to.

    Attributes:
        per_s: Right answers per second.
        p50_ms: Median time of one.
        p99_ms: 99th percentile.
        answered: Right answers.
        failed: Wrong ones, and connections lost.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    answered: int
    failed: int


def closed_loop(
    port: int,
    questions: Questions,
    *,
    connections: int,
    duration_s: float = 3600.0,
    count: int | None = None,
    timeout_s: float = _TIMEOUT_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Ask as fast as answers come, over so many connections, until the time or the count is over.

    One thread and a selector: threads would compete for the interpreter and measure themselves.
    """
    took_ms: list[float] = []
    failed = 0
    started_s = clock()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for _ in range(connections):
            seat = _Seat(stack.enter_context(_connect(port)))
            selector.register(seat.sock, selectors.EVENT_READ, seat)
            seat.ask(next(questions), clock())
        while clock() - started_s < duration_s and (count is None or len(took_ms) + failed < count):
            for key, _ in selector.select(timeout_s) or _silence(port):
                is_right = key.data.hear()
                if is_right is None:
                    continue
                now_s = clock()
                if is_right:
                    took_ms.append((now_s - key.data.asked_s) * 1000)
                else:
                    failed += 1
                key.data.ask(next(questions), now_s)
        lasted_s = clock() - started_s
    ascending = sorted(took_ms) or [0.0]
    return Throughput(
        per_s=len(took_ms) / lasted_s,
        p50_ms=percentile(ascending, 50),
        p99_ms=percentile(ascending, 99),
        answered=len(took_ms),
        failed=failed,
    )


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _silence(port: int) -> list[tuple[selectors.SelectorKey, int]]:
    raise TimeoutError(f"no answer on port {port}")


class _Seat:
    """One connection of a closed loop."""

    __slots__ = ("_question", "_reading", "asked_s", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def ask(self, question: Question, now_s: float) -> None:
        """Send a question."""
        self._question = question
        self._reading = Reading()
        self.asked_s = now_s
        self.sock.sendall(question.request)

    def hear(self) -> bool | None:
        """Read what is there; tell whether the answer is right once all of it is."""
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionResetError("the server closed a connection in use")
        answer = self._reading.feed(piece)
        return None if answer is None else self._question.is_answered_by(*answer)
