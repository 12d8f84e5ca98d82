"""When each target is asked: at due times that no slow answer moves."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final

from velro_auth.ops.monitor.observation import Observation

#: Sent later than this after it was due, a request would measure the monitor.
LATE_S: Final = 1.0

#: An account that is refused is asked for less and less often, at last once in so many seconds: the service stops a
#: guesser after so many failures in a row, and a monitor with an outdated password looks like one.
REFUSED_MOST_S: Final = 3600.0
#: A 429 without a time is given so much.
THROTTLED_S: Final = 60.0


class Ticks:
    """The due times of one target. Safe for any number of threads.

    Args:
        every_s: Between two of them.
        starts_s: The first one.
        clock: Seconds.
    """

    def __init__(self, every_s: float, *, starts_s: float, clock: Callable[[], float]) -> None:
        self._every_s = every_s
        self._next_s = starts_s
        self._clock = clock
        self._lock = threading.Lock()

    def take(self) -> float:
        """Return the next due time; those that are too late to be kept are left out."""
        with self._lock:
            late_s = self._clock() - LATE_S - self._next_s
            due_s = self._next_s + self._every_s * max(0, math.ceil(late_s / self._every_s))
            self._next_s = due_s + self._every_s
            return due_s


class Pace:
    """Holds logins back after one that was not let in.

    Args:
        every_s: Between two logins when all is well.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._refused = 0
        self._resumes_s = -math.inf

    def allows(self, due_s: float) -> bool:
        """Tell whether a login may be sent that is due at *due_s*."""
        return due_s >= self._resumes_s

    def note(self, seen: Observation) -> None:
        """Learn from an answer."""
        if seen.refuses_account:
            self._refused += 1
            self._resumes_s = seen.at_s + min(REFUSED_MOST_S, self._every_s * 2**self._refused)
        elif seen.verdict == "throttled":
            self._resumes_s = seen.at_s + max(THROTTLED_S, self._every_s)
        elif seen.verdict == "success":
            self._refused = 0
