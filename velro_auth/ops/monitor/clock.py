"""The time of day for a file that is read in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: A clock that is set by less than this is followed by nobody's schedule.
_JUMP_S: Final = 2.0


class DayClock:
    """Seconds since the epoch that never go back.

    A clock set back would put observations before earlier ones and stop every schedule. One that is ahead by far is
    followed: the machine was asleep, and what was due meanwhile was not watched. Safe for any number of threads.

    Args:
        monotonic: Seconds that never jump, but may stand still while the machine sleeps.
        wall_clock: The time of day.
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
        if offset_s > self._offset_s + _JUMP_S:
            # Set, not added to: all threads notice at one time.
            self._offset_s = offset_s
        return self._monotonic() + self._offset_s
