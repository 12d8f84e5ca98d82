"""The threads that ask: a few for each target, so that one that hangs delays no other, nor its own next look."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.probes import Probe
from velro_auth.ops.monitor.schedule import LATE_S, Pace, Ticks

#: Most requests of one target in flight.
MOST_THREADS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Poll:
    """One target and how often it is asked.

    Attributes:
        target: Its name.
        probe: Asks it.
        every_s: How often.
        lasts_s: How long one look takes at most.
        pace: Holds looks back; None never does.
    """

    target: str
    probe: Probe
    every_s: float
    lasts_s: float
    pace: Pace | None = None

    @property
    def threads(self) -> int:
        """How many looks can be under way at one time."""
        return min(MOST_THREADS, math.ceil(self.lasts_s / self.every_s) + 1)


class Poller:
    """Asks every target at its due times, from threads of its own.

    Args:
        rounds: What to ask.
        clock: The time of day in seconds, never going back.
    """

    def __init__(self, rounds: Sequence[Poll], *, clock: Callable[[], float]) -> None:
        #: What was seen, as it comes in.
        self.seen: Final = queue.SimpleQueue[Observation]()
        self._rounds = tuple(rounds)
        self._clock = clock
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, the targets a little apart: they are no burst."""
        now_s = self._clock()
        for number, one in enumerate(self._rounds):
            apart_s = min(1.0, one.every_s) * number / len(self._rounds)
            ticks = Ticks(one.every_s, starts_s=now_s + apart_s, clock=self._clock)
            for _ in range(one.threads):
                thread = threading.Thread(target=self._work, args=(one, ticks), name=one.target, daemon=True)
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> None:
        """Ask nothing more, and wait for what is under way: a login that is cut off leaves its session behind."""
        self._stopped.set()
        ends_s = self._clock() + within_s
        for thread in self._threads:
            thread.join(max(0.0, ends_s - self._clock()))

    def _work(self, one: Poll, ticks: Ticks) -> None:
        while True:
            due_s = ticks.take()
            if self._stopped.wait(max(0.0, due_s - self._clock())):
                return
            late_s = self._clock() - due_s
            if late_s > LATE_S:
                self.seen.put(Observation(due_s, one.target, 1000 * late_s, failure="unsent"))
            elif one.pace is None or one.pace.allows(due_s):
                for observation in one.probe(due_s):
                    if one.pace is not None and observation.target == one.target:
                        one.pace.note(observation)
                    self.seen.put(observation)
