"""An open loop: requests leave when they are due, whether or not earlier ones were answered.

A closed loop, which waits for each answer before it asks again, asks less the slower the service gets, and so leaves
out exactly the requests that would have suffered ("coordinated omission"). Here latency counts from the moment a
request was due; a generator that cannot keep up makes its own figures worse, and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from velro_auth.ops.bench.answers import Answer, Sample
from velro_auth.ops.bench.schedule import Arrival

UNSENT = Answer(None, failure="unsent")


class OpenLoop:
    """Sends one schedule, once.

    Each thread takes the next arrival, sleeps until it is due, and sends it: nothing is handed over between threads
    at the moment that counts.

    Args:
        arrivals: What to send, in order of time.
        send: Sends one request and returns its answer; never raises for what the network does.
        threads: Most requests in flight at one time.
        give_up_after_s: From then on what is left is counted as ``unsent``. Bounds the run when the service is
            slower than the schedule.
        clock: A clock that never jumps, in seconds.
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
        """Send everything and return what came back, in order of time.

        Args:
            watch: Called with the samples so far.
            every_s: How often.
        """
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
