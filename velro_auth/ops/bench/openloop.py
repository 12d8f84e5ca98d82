"""An open loop: each request is sent when it is due, whether or not earlier ones were answered.

A closed loop waits for each answer before it sends again. It sends less when the service gets slower, and so leaves out
the requests that would have been slow ("coordinated omission"). Here latency counts from the time a request was due. A
generator that cannot keep up makes the latencies larger, and the verdict contains a warning.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from velro_auth.ops.bench.schedule import Arrival, Kind

#: The class of an answer: the kind of the request, or ``throttled`` for 429.
Class: TypeAlias = Literal["good", "wrong_password", "unknown_user", "throttled"]

#: Why there was no answer. ``unsent``: no connection was free in time.
Failure: TypeAlias = Literal["", "timeout", "connection", "unsent"]

CLASSES: Final[tuple[Class, ...]] = get_args(Class)

#: The right status of each class. Any other answer is a failure.
EXPECTED: Final[Mapping[Class, int]] = {"good": 200, "wrong_password": 401, "unknown_user": 401, "throttled": 429}

_TOO_MANY_REQUESTS: Final = 429
_DURATION: Final = re.compile(r"([\w-]+)\s*;(?:[^,]*;)?\s*dur=([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service, or the reason why there is none.

    Attributes:
        status: HTTP status; None without an answer.
        own_ms: The service's own share of the time, if the answer contains it.
    """

    status: int | None
    failure: Failure = ""
    code: str = ""
    own_ms: float | None = None


UNSENT: Final = Answer(None, failure="unsent")


@dataclass(frozen=True, slots=True)
class Sample:
    """One request and its answer.

    *at_s* is when it was due, after the start; *late_ms* is from due to sent, *took_ms* from due to done.
    """

    kind: Kind
    at_s: float
    late_ms: float
    took_ms: float
    answer: Answer

    @property
    def counted_as(self) -> Class:
        """The class of the sample."""
        return "throttled" if self.answer.status == _TOO_MANY_REQUESTS else self.kind

    @property
    def is_expected(self) -> bool:
        """Whether the answer is the right one for its class."""
        return self.answer.status == EXPECTED[self.counted_as]

    @property
    def has_latency(self) -> bool:
        """Whether the time is part of the percentiles.

        Right answers and timeouts are: without the slowest requests the service would look too fast. A quick 503 or a
        refused connection is not: it would make a broken service look fast. The success rate counts it.
        """
        return self.is_expected or self.answer.failure in {"timeout", "unsent"}

    @property
    def outcome(self) -> str:
        """The status with the error's code, or why there is no answer."""
        return self.answer.failure or f"{self.answer.status} {self.answer.code}".strip()


def own_share_ms(server_timing: str) -> float | None:
    """Return the service's own time from its ``Server-Timing`` header: the total minus the wait for Supabase.

    None when the header lacks one of them. Refused logins contain the total only: the rest would reveal whether the
    account exists.
    """
    durations = dict(_DURATION.findall(server_timing))
    try:
        return float(durations["total"]) - float(durations["upstream"])
    except (KeyError, ValueError):
        return None


class OpenLoop:
    """Sends one schedule, once.

    Each thread reads the next arrival, sleeps until it is due, and sends it. No work passes between threads while
    latency is measured.

    Args:
        send: Sends one request and returns its answer; never raises for network errors.
        give_up_after_s: Requests not sent by then count as ``unsent``, so that a run against a slow service ends.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        send: Callable[[Arrival], Answer],
        *,
        threads: int,
        give_up_after_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._arrivals = arrivals
        self._send = send
        self._threads = min(threads, max(1, len(arrivals)))
        self._give_up_after_s = give_up_after_s
        self._clock = clock
        self._samples: list[Sample] = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def run(self, watch: Callable[[Sequence[Sample]], object] | None = None, every_s: float = 0.25) -> list[Sample]:
        """Send all requests and return the samples, in order of time."""
        queue = iter(self._arrivals)
        starts_s = self._clock()
        with ThreadPoolExecutor(self._threads) as pool:
            pending = {pool.submit(self._work, queue, starts_s) for _ in range(self._threads)}
            try:
                while pending:
                    done, pending = wait(pending, timeout=every_s)
                    for future in done:
                        future.result()
                    if watch is not None:
                        watch(tuple(self._samples))
            finally:
                self._stopped.set()
        return sorted(self._samples, key=lambda sample: sample.at_s)

    def _work(self, queue: Iterator[Arrival], starts_s: float) -> None:
        while (arrival := self._next(queue)) is not None:
            due_s = starts_s + arrival.at_s
            if self._stopped.wait(max(0.0, due_s - self._clock())):
                return
            sent_s = self._clock()
            answer = UNSENT if sent_s - starts_s > self._give_up_after_s else self._send(arrival)
            took_ms = (self._clock() - due_s) * 1000
            self._samples.append(Sample(arrival.kind, arrival.at_s, (sent_s - due_s) * 1000, took_ms, answer))

    def _next(self, queue: Iterator[Arrival]) -> Arrival | None:
        with self._lock:
            return next(queue, None)
