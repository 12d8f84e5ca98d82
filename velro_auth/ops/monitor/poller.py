"""The threads that send the requests: several for each target, so that a slow answer delays no other request."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.probes import Probe

#: Maximum number of requests to one target in flight.
MAX_THREADS: Final = 16

#: A request that would be sent later than this is not sent: it would measure the monitor.
LATE_S: Final = 1.0

#: Longest pause after a refused login. The service blocks an account after many failures in a row, and a monitor with
#: an outdated password looks like an attacker.
MAX_REFUSED_PAUSE_S: Final = 3600.0
#: Shortest pause after a 429.
THROTTLED_PAUSE_S: Final = 60.0

#: Smaller changes of the system clock are ignored.
_CLOCK_CHANGE_S: Final = 2.0


class SteadyClock:
    """Time of day, in seconds since the epoch, that never goes back. Thread-safe.

    A system clock that is set back would put observations before earlier ones and stop all schedules. A clock that is
    set forward is followed: the machine was asleep, and nothing was monitored meanwhile.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic, self._wall_clock = monotonic, wall_clock
        self._offset_s = wall_clock() - monotonic()

    def __call__(self) -> float:
        """Return the time."""
        offset_s = self._wall_clock() - self._monotonic()
        if offset_s > self._offset_s + _CLOCK_CHANGE_S:
            # An assignment, not an addition: several threads may notice the change at once.
            self._offset_s = offset_s
        return self._monotonic() + self._offset_s


class DueTimes:
    """The due times of one target. Slow answers do not move them. Thread-safe."""

    def __init__(self, every_s: float, *, starts_s: float, clock: Callable[[], float]) -> None:
        self._every_s = every_s
        self._next_s = starts_s
        self._clock = clock
        self._lock = threading.Lock()

    def next(self) -> float:
        """Return the next due time; skip those that are too long ago."""
        with self._lock:
            late_s = self._clock() - LATE_S - self._next_s
            due_s = self._next_s + self._every_s * max(0, math.ceil(late_s / self._every_s))
            self._next_s = due_s + self._every_s
            return due_s


class LoginBackoff:
    """Delays logins after a refused or throttled one."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._refusals = 0
        self._resumes_s = -math.inf

    def allows(self, due_s: float) -> bool:
        """Tell whether the login that is due at *due_s* may be sent."""
        return due_s >= self._resumes_s

    def add(self, observation: Observation) -> None:
        """Adapt the delay to an answer."""
        if observation.refuses_account:
            self._refusals += 1
            self._resumes_s = observation.at_s + min(MAX_REFUSED_PAUSE_S, self._every_s * 2**self._refusals)
        elif observation.result == "throttled":
            self._resumes_s = observation.at_s + max(THROTTLED_PAUSE_S, self._every_s)
        elif observation.result == "success":
            self._refusals = 0


@dataclass(frozen=True, kw_only=True)
class Poll:
    """One target and its interval.

    *lasts_s* is the longest duration of one probe.
    """

    target: str
    probe: Probe
    every_s: float
    lasts_s: float
    backoff: LoginBackoff | None = None

    @property
    def threads(self) -> int:
        """Number of probes that can be in flight."""
        return min(MAX_THREADS, math.ceil(self.lasts_s / self.every_s) + 1)


class Poller:
    """Sends the requests to all targets at their due times, from its own threads."""

    def __init__(self, polls: Sequence[Poll], *, clock: Callable[[], float]) -> None:
        #: The observations, in the order of their answers.
        self.observations: Final = queue.SimpleQueue[Observation]()
        self._polls = tuple(polls)
        self._clock = clock
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads. The targets start at different times to avoid a burst."""
        now_s = self._clock()
        for number, poll in enumerate(self._polls):
            delay_s = min(1.0, poll.every_s) * number / len(self._polls)
            due_times = DueTimes(poll.every_s, starts_s=now_s + delay_s, clock=self._clock)
            for _ in range(poll.threads):
                thread = threading.Thread(target=self._work, args=(poll, due_times), name=poll.target, daemon=True)
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> None:
        """Send no new request, and wait for those in flight: an interrupted login would leave its session open."""
        self._stopped.set()
        ends_s = self._clock() + within_s
        for thread in self._threads:
            thread.join(max(0.0, ends_s - self._clock()))

    def _work(self, poll: Poll, due_times: DueTimes) -> None:
        while True:
            due_s = due_times.next()
            if self._stopped.wait(max(0.0, due_s - self._clock())):
                return
            late_s = self._clock() - due_s
            if late_s > LATE_S:
                self.observations.put(Observation(due_s, poll.target, 1000 * late_s, failure="unsent"))
            elif poll.backoff is None or poll.backoff.allows(due_s):
                for observation in poll.probe(due_s):
                    if poll.backoff is not None and observation.target == poll.target:
                        poll.backoff.add(observation)
                    self.observations.put(observation)
