"""Answers requests that may send a mail at fixed times, and lets the call to Supabase go on behind the answer."""

from __future__ import annotations

import contextvars
import functools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from velro_auth.errors import Busy, VelroAuthError
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.keys import networks_of, uses_up

logger = logging.getLogger("velro_auth.guards")

#: Sending a mail takes Supabase 0.5 to 1 s with most mail servers; an unknown address takes 20 ms.
DELAY_MS: Final = 1500.0

#: How long a stopping process waits for calls behind their answers, in seconds.
FINISH_S: Final = 10.0


#: A call may take so many delays before the calls behind their answers use up their places. With the default delay that
#: is 6 s: Supabase takes 0.5 to 1 s, and its mail server may hang now and then.
CALLS_PER_PLACE: Final = 4


class InUse:
    """Places of one kind that are taken.

    Attributes:
        count: How many.
        networks: Network → how many of them are its own, for each network around an address.
        refused: How often no place was free; for a metric.
        changed: Held to read or change the others; notified when a place becomes free.
    """

    def __init__(self) -> None:
        self.count = self.refused = 0
        self.networks: Counter[str] = Counter()
        self.changed = threading.Condition()

    def take(self, address: str, *, places: int, per_network: int) -> bool:
        """Take a place if fewer than *places* are in use, and no network around *address* has used up its share."""
        with self.changed:
            if self.count >= places or (address and uses_up(self.networks, address, per_network)):
                return False
            self.count += 1
            self.networks.update(_around(address))
            return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        with self.changed:
            self.count -= 1
            self.networks.subtract(_around(address))
            # Without those that have none.
            self.networks = +self.networks
            self.changed.notify_all()

    def refuse(self) -> None:
        """Count a refusal."""
        with self.changed:
            self.refused += 1


def _around(address: str) -> tuple[str, ...]:
    return networks_of(address) if address else ()


class MailDelayState:
    """The places in use; survives a settings reload.

    Attributes:
        waiting: Requests that wait for their answer. When each of them ends is known when it begins.
        calls: Calls that are made or go on behind their answers. When they end depends on Supabase.
    """

    def __init__(self) -> None:
        self.waiting, self.calls = InUse(), InUse()

    def finish(self, within_s: float = FINISH_S) -> None:
        """Wait until no call goes on any more, for *within_s* at most: a stopping process still sends its mails."""
        with self.calls.changed:
            self.calls.changed.wait_for(lambda: not self.calls.count, within_s)


class MailDelay:
    """Delays every answer until the delay after the request's arrival or its next multiple; per process.

    The time of the answer is fixed before Supabase is asked, so Supabase has no influence on it. A call that takes
    longer goes on in its thread.

    A waiting request occupies a thread of the server and holds a permit of the failure delay, but never one that is
    reserved for logins. There are fewer places than permits, so a flood of such requests does not stop the sessions
    either. One network gets half of the places (of IPv6 a /56 or a /48 too, and a /64 a third), and a third is kept
    for networks that logged in before: a flood from many networks does not stop their mails. A place is free again
    when the answer leaves. So Supabase has no influence on which requests are refused either.

    Calls have places of their own, several times as many, with the same shares. A request that finds none of them free
    is answered as if its mail had been sent, and Supabase is not asked: a refusal would tell how long calls take.

    Args:
        delay_ms: The delay. 0: each answer leaves as soon as the call has ended.
        places: How many requests may wait.
        permits: Limits the requests that occupy a thread.
        is_acquainted: Whether any account logged in from the network of an address before.
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
            The error with which the call has failed until then; None if it has succeeded, still goes on, or was not
            made. The caller decides which errors a client may see.

        Raises:
            Busy: No place or thread was free; the call was not made.
        """
        waiting = self.state.waiting
        with self._permits.permit():
            if not self._take(waiting, address, self._places):
                waiting.refuse()
                raise Busy("too many requests that may send a mail", retry_after_s=1.0)
            try:
                return self._run(call, arrived_s, address, on_held)
            finally:
                waiting.leave(address)

    def _take(self, kind: InUse, address: str, places: int) -> bool:
        if kind.take(address, places=places - places // 3, per_network=max(1, places // 2)):
            return True
        # Not under the lock: it may ask Redis.
        return self._is_acquainted(address) and kind.take(address, places=places, per_network=max(1, places // 2))

    def _run(
        self,
        call: Callable[[], None],
        arrived_s: float,
        address: str,
        on_held: Callable[[float], None],
    ) -> BaseException | None:
        if self._delay_s <= 0:
            return _outcome(call)
        now = self._clock()
        answer_at = arrived_s + (math.floor((now - arrived_s) / self._delay_s) + 1) * self._delay_s
        running = self._start(call, address)
        held_s = max(0.0, answer_at - self._clock())
        on_held(held_s)
        self._sleep(held_s)
        return running.answered() if running else None

    def _start(self, call: Callable[[], None], address: str) -> _Call | None:
        calls = self.state.calls
        if not self._take(calls, address, self._places * CALLS_PER_PLACE):
            calls.refuse()
            # The answer does not show it, so a developer would look for the mail in vain.
            logger.warning("a mail was withheld: too many calls go on behind their answers")
            return None
        running = _Call(call, calls, address)
        running.start()
        return running


class _Call:
    """A call on a thread of its own, and its place."""

    def __init__(self, call: Callable[[], None], calls: InUse, address: str) -> None:
        self._call, self._calls, self._address = call, calls, address
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._is_answered = False

    def start(self) -> None:
        """Start it.

        Raises:
            Busy: The system has no thread.
        """
        try:
            # The context holds the request's trace.
            run = functools.partial(contextvars.copy_context().run, self._run)
            threading.Thread(target=run, name="mail", daemon=True).start()
        except RuntimeError as error:
            self._calls.leave(self._address)
            raise Busy("the system has no thread for the call", retry_after_s=1.0) from error

    def answered(self) -> BaseException | None:
        """Return the error of a call that has failed by now. A later one is logged."""
        with self._lock:
            self._is_answered = True
            failure, self._failure = self._failure, None
            return failure

    def _run(self) -> None:
        failure = None
        try:
            failure = _outcome(self._call)
            with self._lock:
                is_late = self._is_answered
                if not is_late:
                    self._failure = failure
            if failure is not None and is_late:
                _log(failure)
        finally:
            # It would be a cycle, through the traceback and this frame.
            failure = None
            self._calls.leave(self._address)


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
