"""Lets only so many logins ask Supabase at once, first come, first served."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from velro_auth.errors import Busy


class Bulkhead:
    """A counter with a short, fair queue; per process.

    A slot goes from hand to hand: a newcomer cannot overtake those who wait. Waiting costs a thread each, so
    the queue is bounded in length as well as in time: slots and places in the queue together have to stay
    below the worker's threads, or probes would wait with the logins.

    The number of slots is fixed. A number that follows answering times refuses healthy traffic when the mix of
    calls changes: ``docs/explanation/guards.md`` has the figures.

    Args:
        slots: How many calls may be under way.
        wait_s: How long a login waits for a slot at most, in seconds.
        max_waiting: How many may wait.
    """

    def __init__(self, *, slots: int, wait_s: float, max_waiting: int) -> None:
        self._slots = slots
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self._taken = 0
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def adjust(self, *, slots: int, wait_s: float, max_waiting: int) -> None:
        """Take new numbers. Slots that are taken stay taken, and calls that wait go on waiting.

        Args:
            slots: How many calls may be under way.
            wait_s: How long a login that comes from now on waits, in seconds.
            max_waiting: How many may wait.
        """
        with self._lock:
            self._slots, self._wait_s, self._max_waiting = slots, wait_s, max_waiting
            self._call_in()

    @property
    def taken(self) -> int:
        """How many slots are taken; for a metric."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait; for a metric."""
        return len(self._waiting)

    @property
    def slots(self) -> int:
        """How many slots there are; for a metric."""
        return self._slots

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for as long as the block takes.

        Raises:
            Busy: No slot came free in time, or too many wait already.
        """
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            # While anybody waits all slots are taken: a freed one never lies on the table.
            if self._taken < self._slots:
                self._taken += 1
                return
            if len(self._waiting) >= self._max_waiting:
                raise Busy("all login slots are taken and the queue is full", retry_after_s=self._wait_s)
            turn = threading.Event()
            self._waiting.append(turn)
        self._await(turn)

    def _await(self, turn: threading.Event) -> None:
        is_my_turn = False
        try:
            is_my_turn = turn.wait(self._wait_s)
        finally:
            if not is_my_turn:
                is_my_turn = self._give_up(turn)
        if not is_my_turn:
            raise Busy(f"no login slot came free in {self._wait_s} s", retry_after_s=self._wait_s)

    def _give_up(self, turn: threading.Event) -> bool:
        """Leave the queue; return True if the turn came at the last moment."""
        with self._lock:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
            return False

    def _leave(self) -> None:
        with self._lock:
            self._taken -= 1
            self._call_in()

    def _call_in(self) -> None:
        """Give free slots to those who wait. Called under the lock."""
        while self._waiting and self._taken < self._slots:
            self._taken += 1
            self._waiting.popleft().set()
