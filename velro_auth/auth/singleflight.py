"""Lets parallel calls with the same key share one result."""

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

#: How old a call may be for callers without a permit to wait for it, in seconds. A healthy Supabase has answered by
#: then. While Supabase hangs, one call blocks all threads for a second at most.
GRACE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Flight(Generic[T]):
    """A call in progress."""

    started_s: float
    outcome: Future[T] = field(default_factory=Future)


class SingleFlight(Generic[T]):
    """Runs one call per key at a time; further callers wait for its result or exception.

    The lock is never held during a call, so a slow call delays only callers with the same key. Nothing is kept after
    a call has ended.

    Args:
        wait_s: How long a caller waits for the call of another. Longer than a call may take.
        grace_s: How old a call may be for callers without a permit to wait for it.
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
        permit: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """Return the result of *call*, or of the call in progress with the same key.

        Args:
            key: Callers with one key share a call.
            call: Run by one of the callers.
            permit: Entered by each caller, because each blocks a thread; raises Busy if none is left. Then the caller
                starts no call, but still waits for one that began less than ``grace_s`` ago.

        Raises:
            Busy: No permit is left, and no call began less than ``grace_s`` ago.
            UpstreamTimeout: The call of the other caller took longer than ``wait_s``.
            Exception: The exception of the call, for all callers that waited for it.
        """
        with ExitStack() as stack:
            refusal = _enter(stack, permit)
            with self._lock:
                flight = self._flights.get(key)
                if flight is None and refusal is None:
                    self._flights[key] = _Flight(self._clock())
            try:
                if flight is not None:
                    return self._wait(flight, refusal)
                if refusal is not None:
                    raise refusal
                return self._run(key, call)
            finally:
                # An exception holds the frames that it passed. If they held it too, only a garbage collection would
                # free them.
                del flight, refusal

    def _wait(self, flight: _Flight[T], refusal: Busy | None) -> T:
        grace_s = max(0.0, flight.started_s + self._grace_s - self._clock())
        try:
            return flight.outcome.result(self._wait_s if refusal is None else grace_s)
        except TimeoutError:
            if flight.outcome.done():
                # The call itself raised TimeoutError, or has ended just now.
                return flight.outcome.result()
            raise refusal or UpstreamTimeout("the call of another request takes too long") from None
        finally:
            del flight, refusal

    def _run(self, key: Hashable, call: Callable[[], T]) -> T:
        try:
            outcome = call()
        except BaseException as error:
            # Also for SystemExit: the other callers must not wait for ever.
            self._end(key).set_exception(error)
            raise
        self._end(key).set_result(outcome)
        return outcome

    def _end(self, key: Hashable) -> Future[T]:
        with self._lock:
            return self._flights.pop(key).outcome


def _enter(stack: ExitStack, permit: Callable[[], AbstractContextManager[object]]) -> Busy | None:
    """Enter the permit, and return None; or return the refusal."""
    try:
        stack.enter_context(permit())
    except Busy as error:
        return error
    return None
