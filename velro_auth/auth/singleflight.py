"""Lets parallel callers with one question share one answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from velro_auth.errors import Busy, UpstreamTimeout

T = TypeVar("T")

#: How old a call may be for callers without a place to wait for it, in seconds. A healthy Supabase has answered by
#: then; while it hangs, each call takes all threads for a second at most.
GRACE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Flight(Generic[T]):
    """A call under way."""

    started_s: float
    outcome: Future[T] = field(default_factory=Future)


class SingleFlight(Generic[T]):
    """Runs one call per key at a time; who comes meanwhile waits for its outcome, good or bad.

    The lock is held to look the key up, never during a call: a slow answer delays those who asked the same
    question, and no one else. Nothing is kept once a call has ended.

    Args:
        wait_s: How long a caller waits for another one's call. Longer than a call may take.
        grace_s: How old a call may be for callers without a place to wait for it.
        clock: A clock that never jumps.
    """

    def __init__(self, *, wait_s: float, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_s = wait_s
        self._grace_s = grace_s
        self._clock = clock
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight[T]] = {}

    def do(
        self,
        key: Hashable,
        call: Callable[[], T],
        *,
        place: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """Return the outcome of *call*, or of the same key's call under way.

        Args:
            key: Callers with one key share a call.
            call: Runs in one of the callers.
            place: Entered by each caller, because each costs a thread; raises Busy when there is none left. Then
                the caller starts no call, but still waits for one that began a moment ago.

        Raises:
            Busy: There is no place, and no call that began a moment ago.
            UpstreamTimeout: The other caller's call took longer than ``wait_s``.
            Exception: What the call raised, for everybody who waited for it.
        """
        with ExitStack() as stack:
            refusal: Busy | None = None
            try:
                stack.enter_context(place())
            except Busy as error:
                refusal = error
            with self._lock:
                flight = self._flights.get(key)
                if flight is None and refusal is None:
                    mine = self._flights[key] = _Flight(self._clock())
            if flight is not None:
                return self._awaited(flight, refusal)
            if refusal is not None:
                raise refusal
            return self._fly(key, mine, call)

    def _awaited(self, flight: _Flight[T], refusal: Busy | None) -> T:
        grace_s = max(0.0, flight.started_s + self._grace_s - self._clock())
        try:
            return flight.outcome.result(self._wait_s if refusal is None else grace_s)
        except TimeoutError:
            if flight.outcome.done():
                # The call's own: it is the outcome.
                raise
            raise refusal or UpstreamTimeout("the call of another request takes too long") from None

    def _fly(self, key: Hashable, mine: _Flight[T], call: Callable[[], T]) -> T:
        try:
            outcome = call()
        except BaseException as error:
            self._land(key)
            # A worker being stopped must not leave the others waiting.
            mine.outcome.set_exception(error)
            raise
        self._land(key)
        mine.outcome.set_result(outcome)
        return outcome

    def _land(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]
