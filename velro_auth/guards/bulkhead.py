"""Lets only so many logins ask Supabase at once, first come, first served."""

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
        permits: How many calls may be under way, as the newest bulkhead says.
        in_use: How many are.
        waiting: The calls that wait, the oldest first.
        lock: Held to read or change the others.
    """

    def __init__(self) -> None:
        self.permits = self.in_use = 0
        self.waiting: deque[threading.Event] = deque()
        self.lock = threading.Lock()

    def admit(self) -> None:
        """Give free permits to calls that wait. The caller holds the lock."""
        while self.waiting and self.in_use < self.permits:
            self.in_use += 1
            self.waiting.popleft().set()


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
        state: That of the bulkhead before, at a settings reload. Permits in use stay in use, and calls that wait
            get the permits that are added.
    """

    def __init__(self, *, slots: int, wait_s: float, max_waiting: int, state: BulkheadState | None = None) -> None:
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self.state: Final = state or BulkheadState()
        with self.state.lock:
            self.state.permits = slots
            self.state.admit()

    @property
    def taken(self) -> int:
        """How many slots are taken; for a metric."""
        return self.state.in_use

    @property
    def waiting(self) -> int:
        """How many wait; for a metric."""
        return len(self.state.waiting)

    @property
    def slots(self) -> int:
        """How many slots there are; for a metric."""
        return self.state.permits

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
        state = self.state
        with state.lock:
            # A free permit goes to a waiting call at once, so none is free while a call waits.
            if state.in_use < state.permits:
                state.in_use += 1
                return
            if len(state.waiting) >= self._max_waiting:
                raise Busy("all login slots are taken and the queue is full", retry_after_s=self._wait_s)
            turn = threading.Event()
            state.waiting.append(turn)
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
        with self.state.lock:
            if turn.is_set():
                return True
            self.state.waiting.remove(turn)
            return False

    def _leave(self) -> None:
        with self.state.lock:
            self.state.in_use -= 1
            self.state.admit()
