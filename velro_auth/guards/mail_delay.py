"""Answers requests that may send a mail at fixed times, and lets the call to Supabase go on behind the answer."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NoReturn

from velro_auth.errors import Busy, VelroAuthError
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.keys import network_of

logger = logging.getLogger("velro_auth.guards")

#: Sending a mail takes Supabase 0.5 to 1 s with most mail servers; an unknown address takes 20 ms.
DELAY_MS: Final = 1500.0

#: How long a stopping process waits for calls behind their answers, in seconds.
FINISH_S: Final = 10.0


class MailDelayState:
    """The places in use; survives a settings reload.

    Attributes:
        in_use: How many requests wait, or have a call that goes on.
        networks: Network → how many of them are its own; empty text for requests without an address.
        refused: Requests that were refused because no place was free; for a metric.
        changed: Held to read or change the others; notified when a place becomes free.
    """

    def __init__(self) -> None:
        self.in_use = self.refused = 0
        self.networks: Counter[str] = Counter()
        self.changed = threading.Condition()

    def finish(self, within_s: float = FINISH_S) -> None:
        """Wait until no call goes on any more, for *within_s* at most: a stopping process still sends its mails."""
        with self.changed:
            self.changed.wait_for(lambda: not self.in_use, within_s)


class MailDelay:
    """Delays every answer until the delay after the request's arrival or its next multiple; per process.

    When the answer leaves is decided before Supabase is asked, so it depends on nothing that Supabase does. A call
    that takes longer goes on in its thread.

    A waiting request occupies a thread of the server and holds a permit of the failure delay, but never one that is
    reserved for logins. There are fewer places than permits, so a flood of such requests does not stop the sessions
    either. One network gets half of the places, and a third is kept for networks that logged in before: a flood from
    many networks does not stop their mails. A place is free again when the answer has left *and* the call has ended,
    so which requests are refused reveals nothing either.

    Args:
        delay_ms: The delay. 0: each answer leaves as soon as the call has ended.
        places: How many requests may wait or have a call that goes on.
        permits: Limits the requests that occupy a thread.
        is_acquainted: Whether anybody logged in from the network of an address before.
        clock: The clock of ``arrived_s``: monotonic, in seconds.
        sleep: Waits for a number of seconds.
        state: The state of the object before, at a settings reload.
    """

    def __init__(
        self,
        *,
        delay_ms: float = DELAY_MS,
        places: int,
        permits: FailureDelay,
        is_acquainted: Callable[[str], bool] = lambda _address: False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        state: MailDelayState | None = None,
    ) -> None:
        self._delay_s = delay_ms / 1000
        self._places = places
        self._kept = places // 3
        self._per_network = max(1, places // 2)
        self._is_acquainted = is_acquainted
        self._permits = permits
        self._clock = clock
        self._sleep = sleep
        self.state: Final = state or MailDelayState()

    def run(
        self,
        call: Callable[[], None],
        arrived_s: float,
        *,
        address: str = "",
        on_held: Callable[[float], None] = lambda _held_s: None,
    ) -> BaseException | None:
        """Run *call* on a thread of its own, and wait until the answer may leave.

        Args:
            call: Asks Supabase. For a request that may send no mail, give one that does nothing: it waits as long.
            arrived_s: When the request arrived, on the clock of this object.
            address: The caller's IP address, so that one network cannot take all places; empty for no such limit.
            on_held: Called with the seconds for which the answer is delayed.

        Returns:
            The error with which the call has failed until then; None if it has succeeded or still goes on. The caller
            decides which errors a client may see.

        Raises:
            Busy: No place or thread was free; the call was not made.
        """
        with self._permits.permit():
            place = _Place(self.state, network_of(address) if address else "")
            if not place.take(self._places - self._kept, self._per_network) and not (
                # Not under the lock: it may ask Redis.
                self._is_acquainted(address) and place.take(self._places, self._per_network)
            ):
                place.refuse()
            try:
                return self._run(call, arrived_s, place, on_held)
            finally:
                place.leave()

    def _run(
        self, call: Callable[[], None], arrived_s: float, place: _Place, on_held: Callable[[float], None]
    ) -> BaseException | None:
        if self._delay_s <= 0:
            return _outcome(call)
        now = self._clock()
        answer_at = arrived_s + (math.floor((now - arrived_s) / self._delay_s) + 1) * self._delay_s
        place.start(call)
        held_s = max(0.0, answer_at - self._clock())
        on_held(held_s)
        self._sleep(held_s)
        return place.answered()


class _Place:
    """The place of one request: held until its answer may leave and its call has ended."""

    def __init__(self, state: MailDelayState, network: str) -> None:
        self._state, self._network = state, network
        self._holders = 1
        self._failure: BaseException | None = None
        self._is_answered = False

    def take(self, places: int, per_network: int) -> bool:
        """Take the place if fewer than *places* are in use, and fewer than *per_network* by this network."""
        state = self._state
        with state.changed:
            is_full = bool(self._network) and state.networks[self._network] >= per_network
            if is_full or state.in_use >= places:
                return False
            state.in_use += 1
            state.networks[self._network] += 1
            return True

    def refuse(self) -> NoReturn:
        with self._state.changed:
            self._state.refused += 1
        raise Busy("too many requests that may send a mail", retry_after_s=1.0)

    def start(self, call: Callable[[], None]) -> None:
        """Start the call on a thread of its own.

        Raises:
            Busy: The system has no thread.
        """
        with self._state.changed:
            self._holders += 1
        try:
            # The context holds the request's trace.
            run = functools.partial(contextvars.copy_context().run, self._run, call)
            threading.Thread(target=run, name="mail", daemon=True).start()
        except RuntimeError as error:
            self.leave()
            raise Busy("the system has no thread for the call", retry_after_s=1.0) from error

    def answered(self) -> BaseException | None:
        """Return the error of a call that has failed by now. A later one is logged."""
        with self._state.changed:
            self._is_answered = True
            return self._failure

    def _run(self, call: Callable[[], None]) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.leave)
            failure = _outcome(call)
            with self._state.changed:
                self._failure, is_late = failure, self._is_answered
            if failure is not None and is_late:
                _log(failure)

    def leave(self) -> None:
        """Give the place back if the other holder has left already."""
        state = self._state
        with state.changed:
            self._holders -= 1
            if self._holders:
                return
            state.in_use -= 1
            state.networks[self._network] -= 1
            if not state.networks[self._network]:
                del state.networks[self._network]
            state.changed.notify_all()


def _outcome(call: Callable[[], None]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the caller decides what becomes of it
        return error
    return None


def _log(failure: BaseException) -> None:
    """Log an error that no answer could tell."""
    if isinstance(failure, VelroAuthError):
        fields = {"error": type(failure).__name__, "reason": failure.reason}
        logger.warning("a call failed behind its answer", extra=fields)
    else:
        logger.error("a call failed behind its answer, unexpectedly", exc_info=failure)
