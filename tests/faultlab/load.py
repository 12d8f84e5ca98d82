"""Load as independent users make it: an open loop with random arrivals, in the background of a scenario."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

from tests.faultlab.client import Reply

THREADS: Final = 48
#: What a fault leaves behind, such as a queue, is not the usual.
AFTERWARDS_S: Final = 1.0
#: A machine that others use is at most so many times slower for a while; with room for few requests.
SLOWER: Final = 3.0
SLOWER_S: Final = 0.05

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
        bursts: Whether requests may come in bursts, as independent ones do. Without, there is one in each interval of
            ``1 / rps`` seconds, at a random time.
    """

    def __init__(self, ask: Ask, *, rps: float, seed: int, threads: int = THREADS, bursts: bool = True) -> None:
        self._ask = ask
        self._due = (independent if bursts else one_each)(rps, random.Random(seed))  # noqa: S311 - no secret
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


def independent(rps: float, chance: random.Random) -> Iterator[tuple[int, float]]:
    """Yield requests at random times, and when each is due: as independent users come, also in bursts."""
    due_s = time.monotonic()
    for number in itertools.count():
        due_s += chance.expovariate(rps)
        yield number, due_s


def one_each(rps: float, chance: random.Random) -> Iterator[tuple[int, float]]:
    """Yield one request in each interval of ``1 / rps`` seconds, due at a random time of it."""
    began_s = time.monotonic()
    for number in itertools.count():
        yield number, began_s + (number + chance.random()) / rps


class Turns:
    """Times with a fault and without it, in turn, under one load.

    A machine that others use is slower for a while now and then. Where the time before a fault is compared with the
    time during it, such a while counts for the fault; in turn it happens to both.

    Args:
        load: The load; the time without a fault begins now.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._begins_s = [time.monotonic()]
        self._ends_s: list[float] = []

    @contextlib.contextmanager
    def fault(self) -> Iterator[None]:
        """Count the time of the block as one with the fault."""
        began_s = time.monotonic()
        yield
        self._ends_s.append(began_s)
        self._begins_s.append(time.monotonic())

    def during(self) -> list[Reply]:
        """Return the replies to requests due during a fault."""
        times = zip(self._ends_s, self._begins_s[1:], strict=True)
        return [reply for began_s, ended_s in times for reply in self._load.between(began_s, ended_s)]

    def usual(self) -> list[Reply]:
        """Return those to requests due before the first fault, between two, and after the last one."""
        rests_s = [self._begins_s[0], *(began_s + AFTERWARDS_S for began_s in self._begins_s[1:])]
        times = zip(rests_s, [*self._ends_s, time.monotonic()], strict=True)
        return [reply for began_s, ended_s in times for reply in self._load.between(began_s, ended_s)]

    def has_lasting_damage(self) -> bool:
        """Return whether the first fault made requests so slow for good that the machine is no reason for it.

        What lasts is in the times without a fault too, so that the comparison in turn does not show it.
        """
        before = self._load.between(self._begins_s[0], self._ends_s[0])
        usual_s, found_s = (percentile([reply.took_s for reply in each], 95) for each in (before, self.during()))
        return found_s > SLOWER * usual_s + SLOWER_S


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
