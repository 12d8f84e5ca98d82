"""Load as independent users make it: an open loop with random arrivals, in the background of a scenario."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

from tests.faultlab.client import Reply

THREADS: Final = 48

#: Sends the request with this number, due at this time of the monotonic clock.
Ask = Callable[[int, float], Reply]


class Load:
    """Sends requests at random times, so many a second on average, until it is stopped.

    Evenly spaced requests would never overlap, and so would hide every queue. A reply's time counts from when the
    request was due: a generator that cannot keep up makes the service look slower, never faster.

    Args:
        ask: Sends one request.
        rps: Requests per second, on average.
        seed: The same seed gives the same times.
        threads: How many requests may be in flight.
    """

    def __init__(self, ask: Ask, *, rps: float, seed: int, threads: int = THREADS) -> None:
        self._ask = ask
        self._due = self._schedule(rps, seed)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self.replies: list[Reply] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Self:
        """Start."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for what is in flight."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for error in self.errors:
            raise error

    def between(self, first_s: float, last_s: float) -> list[Reply]:
        """Return the replies to requests due in this time of the monotonic clock."""
        return [reply for reply in list(self.replies) if first_s <= reply.at_s < last_s]

    def _schedule(self, rps: float, seed: int) -> Iterator[tuple[int, float]]:
        chance, number, due_s = random.Random(seed), 0, time.monotonic()  # noqa: S311 - a schedule, not a secret
        while True:
            due_s += chance.expovariate(rps)
            yield number, due_s
            number += 1

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    number, due_s = next(self._due)
                if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                    return
                self.replies.append(self._ask(number, due_s))
        except BaseException as error:  # noqa: BLE001 - raised at the end
            self.errors.append(error)


def statuses(replies: Sequence[Reply]) -> Counter[str]:
    """Count replies by status and code, or by why there is none."""
    return Counter(f"{reply.status or reply.failure} {reply.code}".strip() for reply in replies)


def share(replies: Sequence[Reply], *good: int) -> float:
    """Return which share of the replies has one of these statuses; 0 for none at all, which proves nothing."""
    return sum(reply.status in good for reply in replies) / len(replies) if replies else 0.0


def last_third(load: Load, first_s: float) -> list[Reply]:
    """Return the replies to requests due in the last third of the time since *first_s*."""
    now_s = time.monotonic()
    return load.between(now_s - (now_s - first_s) / 3, now_s)


def percentile(values: Sequence[float], at: float) -> float:
    """Return the value that *at* percent of the values do not exceed; 0 for none."""
    ascending = sorted(values)
    return ascending[min(len(ascending) - 1, int(len(ascending) * at / 100))] if ascending else 0.0
