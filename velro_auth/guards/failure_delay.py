"""Answers refused logins at fixed times, so that the time of an answer does not tell who has an account."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from velro_auth.errors import AuthError, Busy

#: Supabase takes 120 to 150 ms for a wrong password and 10 to 20 ms for an unknown account; the rest is room for
#: the way there and a queue.
FLOOR_MS: Final = 350.0

#: How long one slow refusal holds up the others, and how many multiples it may hold them up at most.
LEVEL_S: Final = 60.0
MOST_MULTIPLES: Final = 4


def _nobody(_held_s: float) -> None:
    """Tell nobody."""


class FailureDelayState:
    """The requests on their way and the present delay; survives a settings reload.

    Attributes:
        permits: How many requests may be on their way, as the newest failure delay says.
        in_use: How many are.
        level: The multiple of the delay that all refusals wait for.
        level_ends: Until when, on the clock of the failure delay.
        lock: Held to read or change the others.
    """

    def __init__(self) -> None:
        self.permits = self.in_use = 0
        self.level, self.level_ends = 1, 0.0
        self.lock = threading.Lock()

    @property
    def free(self) -> int:
        """How many more requests may be on their way; for a metric."""
        return self.permits - self.in_use


class FailureDelay:
    """Holds a refused login back until the next multiple of the floor after its arrival; per process.

    Held logins cost a thread each, and so does everything else that waits for Supabase; so only so many requests
    may be on their way at once, and probes and checks of tokens always find a thread. The place is taken
    *before* anybody is asked: turned away later, the moment of the 503 would tell what the 401 must not.

    A busy Supabase may miss the first multiple, and more often so for a wrong password, which costs it a bcrypt,
    than for an unknown account, which costs nothing: measured on two busy cores, 11 % against 0.5 %, which tells
    them apart. So after one refusal that took longer, all refusals of this process wait as long, for a minute.

    Args:
        floor_ms: The floor; 0 switches it off.
        places: How many requests may be on their way to Supabase, held ones included. Fewer than the worker's
            threads.
        reserved: How many of them only logins may take.
        clock: The clock of ``arrived``; seconds that never go back.
        sleep: Waits for so many seconds.
        state: That of the failure delay before, at a settings reload; requests on their way keep their permits.
    """

    def __init__(
        self,
        *,
        floor_ms: float = FLOOR_MS,
        places: int,
        reserved: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        state: FailureDelayState | None = None,
    ) -> None:
        self._floor_s = floor_ms / 1000
        self._clock = clock
        self._sleep = sleep
        self._reserved = reserved
        self.state: Final = state or FailureDelayState()
        with self.state.lock:
            self.state.permits = places

    @property
    def free(self) -> int:
        """How many more requests may be on their way; for a metric."""
        return self.state.free

    @contextlib.contextmanager
    def hold(self, arrived: float, *, on_held: Callable[[float], None] = _nobody) -> Iterator[None]:
        """Ask within the block; leave it late if the answer was no.

        Args:
            arrived: When the request came in, on the clock of this object.
            on_held: Told for how many seconds a refusal is held back.

        Raises:
            Busy: Too many logins are on their way; nobody was asked.
        """
        self._take_place(reserved=0)
        try:
            yield
        except AuthError:
            self._wait(arrived, on_held)
            raise
        finally:
            self._leave_place()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Be on the way within the block: for whatever else may wait for Supabase and so cost a thread.

        Leaves the reserved places to the logins.

        Raises:
            Busy: Too many requests are on their way.
        """
        self._take_place(reserved=self._reserved)
        try:
            yield
        finally:
            self._leave_place()

    def _wait(self, arrived: float, on_held: Callable[[float], None]) -> None:
        floor_s = self._floor_s
        if floor_s <= 0:
            return
        now = self._clock()
        needed = max(1, math.floor((now - arrived) / floor_s) + 1)
        multiples = max(needed, self._raised_to(needed, now))
        held_s = max(0.0, arrived + multiples * floor_s - now)
        on_held(held_s)
        self._sleep(held_s)

    def _raised_to(self, needed: int, now: float) -> int:
        """Return the multiple that all refusals wait for, having learnt that one needed *needed*."""
        state = self.state
        with state.lock:
            if now >= state.level_ends:
                state.level = 1
            if state.level <= needed <= MOST_MULTIPLES and needed > 1:
                state.level, state.level_ends = needed, now + LEVEL_S
            return state.level

    def _take_place(self, *, reserved: int) -> None:
        with self.state.lock:
            if self.state.free <= reserved:
                raise Busy("too many requests are on their way", retry_after_s=max(1.0, self._floor_s))
            self.state.in_use += 1

    def _leave_place(self) -> None:
        with self.state.lock:
            self.state.in_use -= 1
