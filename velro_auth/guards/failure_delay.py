"""Answers refused logins at fixed times, so that the response time does not reveal whether an account exists."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from velro_auth.errors import AuthError, Busy

#: Supabase takes 120 to 150 ms for a wrong password, 10 to 20 ms for an unknown account; the rest is for the network.
DELAY_MS: Final = 350.0

#: How long one slow refusal delays the others, and by how many multiples at most.
RAISED_FOR_S: Final = 60.0
MAX_MULTIPLE: Final = 4


class FailureDelayState:
    """The permits in use and the present multiple of the delay; survives a settings reload.

    Attributes:
        permits: How many requests may wait for Supabase: the limit of the newest failure delay.
        in_use: How many permits are in use.
        multiple: The multiple of the delay for which all refusals wait.
        raised_until_s: Until when, on the clock of the failure delay.
        lock: Held to read or change the others.
    """

    def __init__(self) -> None:
        self.permits = self.in_use = 0
        self.multiple, self.raised_until_s = 1, 0.0
        self.lock = threading.Lock()

    @property
    def free(self) -> int:
        """How many permits are free; for a metric."""
        return self.permits - self.in_use


class FailureDelay:
    """Delays a refused login until the next multiple of the delay after its arrival; per process.

    Delayed logins occupy a thread, and so does every other request that waits for Supabase. So the number of such
    requests is limited, and probes and token checks always find a thread. The permit is taken *before* Supabase is
    asked: the timing of a late 503 would reveal whether the account exists.

    A busy Supabase may miss the first multiple. That happens more often for a wrong password, which costs it a bcrypt,
    than for an unknown account: measured on two busy cores, 11 % against 0.5 %, which is enough to tell them apart.
    So after one refusal that took longer, all refusals of this process wait as long, for a minute.

    Args:
        delay_ms: The delay; 0 switches it off.
        permits: How many requests may wait for Supabase, delayed ones included. Fewer than the worker's threads.
        reserved: How many of the permits only logins may use.
        known_reserved: How many of them only logins from networks may use from which the account logged in before.
            One password tried at thousands of accounts would otherwise use all of them.
        clock: The clock of ``arrived``: monotonic, in seconds.
        sleep: Waits for a number of seconds.
        state: The state of the failure delay before, at a settings reload; permits in use stay in use.
    """

    def __init__(
        self,
        *,
        delay_ms: float = DELAY_MS,
        permits: int,
        reserved: int = 0,
        known_reserved: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        state: FailureDelayState | None = None,
    ) -> None:
        self._delay_s = delay_ms / 1000
        self._clock = clock
        self._sleep = sleep
        self._reserved, self._known_reserved = reserved, known_reserved
        self.state: Final = state or FailureDelayState()
        with self.state.lock:
            self.state.permits = permits

    @property
    def free(self) -> int:
        """How many permits are free; for a metric. Negative while a smaller limit has more permits in use."""
        return self.state.free

    @contextlib.contextmanager
    def hold(
        self,
        arrived: float,
        *,
        on_held: Callable[[float], None] = lambda _held_s: None,
        is_login: bool = True,
        is_known: bool = True,
    ) -> Iterator[None]:
        """Try a login within the block, with a permit; delay the exit if the login was refused.

        Args:
            arrived: When the request arrived, on the clock of this object.
            on_held: Called with the seconds for which a refusal is delayed.
            is_login: Whether a permit may be used that is reserved for logins.
            is_known: Whether a login may use one that is reserved for known networks.

        Raises:
            Busy: No permit is free; Supabase was not asked.
        """
        self._acquire(reserved=self._reserved if not is_login else 0 if is_known else self._known_reserved)
        try:
            yield
        except AuthError:
            self._wait(arrived, on_held)
            raise
        finally:
            self._release()

    @contextlib.contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit within the block, for requests other than logins; reserved permits stay free for logins.

        Raises:
            Busy: No permit is free.
        """
        self._acquire(reserved=self._reserved)
        try:
            yield
        finally:
            self._release()

    def _wait(self, arrived: float, on_held: Callable[[float], None]) -> None:
        delay_s = self._delay_s
        if delay_s <= 0:
            return
        now = self._clock()
        needed = max(1, math.floor((now - arrived) / delay_s) + 1)
        multiple = max(needed, self._common_multiple(needed, now))
        held_s = max(0.0, arrived + multiple * delay_s - now)
        on_held(held_s)
        self._sleep(held_s)

    def _common_multiple(self, needed: int, now: float) -> int:
        """Return the multiple for which all refusals wait, after one refusal needed *needed*."""
        state = self.state
        with state.lock:
            if now >= state.raised_until_s:
                state.multiple = 1
            if state.multiple <= needed <= MAX_MULTIPLE and needed > 1:
                state.multiple, state.raised_until_s = needed, now + RAISED_FOR_S
            return state.multiple

    def _acquire(self, *, reserved: int) -> None:
        with self.state.lock:
            if self.state.free <= reserved:
                raise Busy("too many requests wait for Supabase", retry_after_s=max(1.0, self._delay_s))
            self.state.in_use += 1

    def _release(self) -> None:
        with self.state.lock:
            self.state.in_use -= 1
