"""Limits how many calls ask Supabase at once; first come, first served."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from velro_auth.errors import Busy


class Bulkhead:
    """A concurrency limit with a short, fair queue; per process.

    A released permit goes directly to the call that has waited longest, so a new call cannot overtake. Each waiting
    call occupies a thread. So the queue is limited in length and in time: permits and waiting calls together must
    stay below the worker's threads, or probes would wait behind logins.

    The limit is fixed. A limit that follows the response times refuses healthy traffic when the mix of calls changes:
    ``docs/explanation/guards.md`` has the measurement.

    Attributes:
        permits: How many calls may run at once; for a metric too.
        in_use: How many permits are in use; for a metric.

    Args:
        permits: The same.
        wait_s: How long a call waits for a permit at most, in seconds.
        max_waiting: How many calls may wait.
    """

    def __init__(self, *, permits: int, wait_s: float, max_waiting: int) -> None:
        self.permits = permits
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self.in_use = 0
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def adjust(self, *, permits: int, wait_s: float, max_waiting: int) -> None:
        """Change the limits. Permits in use stay in use, and waiting calls go on waiting as long as they began to."""
        with self._lock:
            self.permits, self._wait_s, self._max_waiting = permits, wait_s, max_waiting
            self._serve_queue()

    @property
    def waiting(self) -> int:
        """How many calls wait; for a metric."""
        return len(self._queue)

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
        with self._lock:
            # While calls wait, all permits are in use: a released one is passed on under this lock.
            if self.in_use < self.permits:
                self.in_use += 1
                return
            if len(self._queue) >= self._max_waiting:
                raise Busy("all login permits are in use and the queue is full", retry_after_s=self._wait_s)
            granted = threading.Event()
            self._queue.append(granted)
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
        with self._lock:
            if granted.is_set():
                return True
            self._queue.remove(granted)
            return False

    def _release(self) -> None:
        with self._lock:
            self.in_use -= 1
            self._serve_queue()

    def _serve_queue(self) -> None:
        """Grant free permits to waiting calls. Called under the lock."""
        while self._queue and self.in_use < self.permits:
            self.in_use += 1
            self._queue.popleft().set()
