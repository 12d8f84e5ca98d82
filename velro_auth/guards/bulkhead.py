"""Limits how many calls ask Supabase at once; first come, first served."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from velro_auth.errors import Busy


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
    def permit(self) -> Iterator[None]:
        """Hold a permit for the duration of the block.

        Raises:
            Busy: No permit became free in time, or too many calls wait already.
        """
        self._acquire()
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
