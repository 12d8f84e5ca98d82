"""Guards each call of Supabase: a limited number at once, first come, first served, and none while Supabase fails."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from velro_auth.context import RequestContext
from velro_auth.errors import Busy, CircuitOpen, UpstreamError, UpstreamThrottled, VelroAuthError
from velro_auth.guards.upstream_rate_limit import RateLimitBucket

State: TypeAlias = Literal["closed", "open", "half-open"]

WINDOW_S: Final = 10.0
MIN_CALLS: Final = 20
FAILURE_RATIO: Final = 0.5

#: The pause before a probe, and how long a probe keeps others from probing. The deadline of a call is 5 s, and the
#: first success has to come within 5 s after the fault ends: so a hanging probe must not be waited for.
OPEN_S: Final = 3.0
PROBE_S: Final = 3.0


class BulkheadState:
    """The permits in use and the calls that wait for one; survives a settings reload.

    Attributes:
        permits: How many calls may run at once: the limit of the newest bulkhead.
        in_use: How many permits are in use.
        waiting: The calls that wait, the oldest first.
        lock: Held to read or change the others.
    """

    def __init__(self) -> None:
        self.permits = self.in_use = 0
        self.waiting: deque[threading.Event] = deque()
        self.lock = threading.Lock()

    def admit(self) -> None:
        """Grant free permits to waiting calls. The caller holds the lock."""
        while self.waiting and self.in_use < self.permits:
            self.in_use += 1
            self.waiting.popleft().set()


class Bulkhead:
    """A concurrency limit with a short, fair queue; per process.

    A released permit goes directly to the call that has waited longest, so a new call cannot overtake. Each waiting
    call occupies a thread. So the queue is limited in length and in time: permits and waiting calls together must
    stay below the worker's threads, or probes would wait behind logins.

    The limit is fixed. A limit that follows the response times refuses healthy traffic when the mix of calls changes:
    ``docs/explanation/guards.md`` has the measurement.

    Args:
        permits: How many calls may run at once.
        wait_s: How long a call waits for a permit at most, in seconds.
        max_waiting: How many calls may wait.
        state: The state of the bulkhead before, at a settings reload. Permits in use stay in use, and waiting calls
            get the permits that are added.
    """

    def __init__(self, *, permits: int, wait_s: float, max_waiting: int, state: BulkheadState | None = None) -> None:
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self.state: Final = state or BulkheadState()
        with self.state.lock:
            self.state.permits = permits
            self.state.admit()

    @property
    def permits(self) -> int:
        """How many calls may run at once; for a metric too."""
        return self.state.permits

    @property
    def in_use(self) -> int:
        """How many permits are in use; for a metric."""
        return self.state.in_use

    @property
    def waiting(self) -> int:
        """How many calls wait; for a metric."""
        return len(self.state.waiting)

    @contextlib.contextmanager
    def permit(self, context: RequestContext | None = None) -> Iterator[None]:
        """Hold a permit for the duration of the block.

        Args:
            context: The request that this serves. Its wait counts towards the deadline of the call.

        Raises:
            Busy: No permit became free in time, or too many calls wait already.
        """
        began_s = time.monotonic()
        self._acquire()
        if context is not None:
            context.waited_s += time.monotonic() - began_s
        try:
            yield
        finally:
            self._release()

    def _acquire(self) -> None:
        state = self.state
        with state.lock:
            # While calls wait, all permits are in use: a released one is passed on under this lock.
            if state.in_use < state.permits:
                state.in_use += 1
                return
            if len(state.waiting) >= self._max_waiting:
                raise Busy("all login permits are in use and the queue is full", retry_after_s=self._wait_s)
            granted = threading.Event()
            state.waiting.append(granted)
        self._wait(granted)

    def _wait(self, granted: threading.Event) -> None:
        is_granted = False
        try:
            is_granted = granted.wait(self._wait_s)
        finally:
            if not is_granted:
                is_granted = self._leave_queue(granted)
        if not is_granted:
            raise Busy(f"no login permit became free in {self._wait_s} s", retry_after_s=self._wait_s)

    def _leave_queue(self, granted: threading.Event) -> bool:
        """Leave the queue; return True if the permit was granted at the last moment."""
        with self.state.lock:
            if granted.is_set():
                return True
            self.state.waiting.remove(granted)
            return False

    def _release(self) -> None:
        with self.state.lock:
            self.state.in_use -= 1
            self.state.admit()


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

    def demand(self) -> None:
        """Return if a call may be made now, for calls whose outcome is not recorded: they never probe.

        Raises:
            CircuitOpen: The breaker is open.
        """
        with self._lock:
            wait_s = self._next_probe_s - self._clock()
            if self._is_open and wait_s > 0:
                raise CircuitOpen("the circuit breaker is open", retry_after_s=wait_s)

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
            # A probe that hung until its deadline was given up before: it does not show Supabase's present state.
            if generation == self._probe and self._clock() < self._next_probe_s:
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


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The guards around one call of Supabase.

    Attributes:
        bulkhead: Limits how many calls ask Supabase at once.
        breaker: Stops calls while Supabase fails.
        rate_limit: Learns when Supabase's own rate limit is reached.
    """

    bulkhead: Bulkhead
    breaker: CircuitBreaker
    rate_limit: RateLimitBucket

    @contextlib.contextmanager
    def __call__(self, context: RequestContext | None = None) -> Iterator[None]:
        """Ask Supabase within the block, for the request of *context*.

        Raises:
            Busy: No permit became free in time.
            CircuitOpen: The circuit breaker is open.
        """
        try:
            with self.bulkhead.permit(context), self.breaker.attempt():
                yield
        except UpstreamThrottled:
            self.rate_limit.upstream_refused()
            raise
