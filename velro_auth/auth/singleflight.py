"""Lets parallel callers with one question share one answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from velro_auth.errors import UpstreamTimeout

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs one call per key at a time; who comes meanwhile waits for its outcome, good or bad.

    The lock is held to look the key up, never during a call: a slow answer delays those who asked the same
    question, and nobody else. Nothing is kept once a call has ended.

    Args:
        wait_s: How long a caller waits for another one's call. Longer than a call may take.
    """

    def __init__(self, *, wait_s: float) -> None:
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def do(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return the outcome of *call*, or of the same key's call under way.

        Raises:
            UpstreamTimeout: The other caller's call took longer than ``wait_s``.
            Exception: What the call raised, for everybody who waited for it.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                mine = self._flights[key] = Future()
        if flight is None:
            return self._fly(key, mine, call)
        try:
            return flight.result(self._wait_s)
        except TimeoutError:
            if flight.done():
                # The call's own: it is the outcome.
                raise
            raise UpstreamTimeout("the call of another request takes too long") from None

    def _fly(self, key: Hashable, mine: Future[T], call: Callable[[], T]) -> T:
        try:
            outcome = call()
        except BaseException as error:
            self._land(key)
            # A worker being stopped must not leave the others waiting.
            mine.set_exception(error)
            raise
        self._land(key)
        mine.set_result(outcome)
        return outcome

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]
