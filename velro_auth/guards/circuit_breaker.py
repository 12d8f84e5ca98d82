"""Stops calls to Supabase while it fails, and detects when it works again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

from velro_auth.errors import CircuitOpen, UpstreamError, VelroAuthError

State: TypeAlias = Literal["closed", "open", "half-open"]

WINDOW_S: Final = 10.0
MIN_CALLS: Final = 20
FAILURE_RATIO: Final = 0.5

#: The pause before a probe, and how long a probe keeps others from probing. The deadline of a call is 5 s, and the
#: first success has to come within 5 s after the fault ends: so a hanging probe must not be waited for.
OPEN_S: Final = 3.0
PROBE_S: Final = 3.0


class CircuitBreaker:
    """Opens when half of at least 20 calls within 10 s met an outage; per process.

    Only an ``UpstreamError`` that is an outage is a failure. Every other error of ours means that Supabase answered,
    so wrong passwords can never open the breaker. While it is open, one caller at a time probes; the first good
    answer closes it. A probe without an answer is given up after ``PROBE_S``. No lock is held during a call.

    Args:
        min_calls: Fewer calls than this never open it.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, *, min_calls: int = MIN_CALLS, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = _Window()
        self._min_calls = min_calls
        self._clock = clock
        self._lock = threading.Lock()
        self._is_open = False
        self._next_probe_s = 0.0
        #: Grows with each opening, closing and probe. A call remembers it, so that a late outcome is recognised.
        self._generation = 0
        self._opened_generation = 0
        self._probe: int | None = None

    @property
    def state(self) -> State:
        """Closed, open, or half-open while a probe is under way."""
        with self._lock:
            if not self._is_open:
                return "closed"
            return "open" if self._probe is None or self._clock() >= self._next_probe_s else "half-open"

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Ask Supabase within the block, and record the outcome.

        Raises:
            CircuitOpen: The breaker is open; ``retry_after_s`` is the time until the next probe.
        """
        generation = self._enter()
        try:
            yield
        except UpstreamError as error:
            self._record(generation, is_failure=error.is_outage)
            raise
        except VelroAuthError:
            # A refused password is a healthy answer.
            self._record(generation, is_failure=False)
            raise
        except BaseException:
            self._abandon(generation)
            raise
        self._record(generation, is_failure=False)

    def _enter(self) -> int:
        with self._lock:
            if self._is_open:
                now = self._clock()
                if now < self._next_probe_s:
                    raise CircuitOpen("the circuit breaker is open", retry_after_s=self._next_probe_s - now)
                self._generation += 1
                self._probe, self._next_probe_s = self._generation, now + PROBE_S
            return self._generation

    def _record(self, generation: int, *, is_failure: bool) -> None:
        with self._lock:
            record = self._record_open if self._is_open else self._record_closed
            record(generation, is_failure=is_failure)

    def _record_closed(self, generation: int, *, is_failure: bool) -> None:
        if generation < self._generation:
            return  # the call began before the breaker closed: out of date
        now = self._clock()
        calls, failures = self._calls.add(now, is_failure=is_failure)
        if is_failure and calls >= self._min_calls and failures >= FAILURE_RATIO * calls:
            self._generation += 1
            self._is_open, self._opened_generation, self._probe = True, self._generation, None
            self._next_probe_s = now + OPEN_S

    def _record_open(self, generation: int, *, is_failure: bool) -> None:
        if generation <= self._opened_generation:
            return  # the call began before the breaker opened: out of date
        if is_failure:
            if generation == self._probe:
                self._probe, self._next_probe_s = None, self._clock() + OPEN_S
            return
        # The late answer of a probe that was given up closes the breaker too.
        self._generation += 1
        self._is_open, self._probe = False, None
        self._calls.clear()

    def _abandon(self, generation: int) -> None:
        """Ignore a call that ended in a defect of ours; the next call may probe."""
        with self._lock:
            if generation == self._probe:
                self._probe, self._next_probe_s = None, self._clock()


class _Window(deque[list[float]]):
    """Counts calls and failures of the last ``WINDOW_S``, one row per tenth of it."""

    def add(self, now: float, *, is_failure: bool) -> tuple[float, float]:
        """Count one call; return how many calls and how many failures there were."""
        if not self or now >= self[-1][0] + WINDOW_S / 10:
            self.append([now, 0, 0])
        while self[0][0] <= now - WINDOW_S:
            self.popleft()
        self[-1][1] += 1
        self[-1][2] += is_failure
        return sum(row[1] for row in self), sum(row[2] for row in self)
