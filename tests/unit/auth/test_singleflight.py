from __future__ import annotations

import contextlib
import functools
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

import pytest

from tests.fixtures.tokens import HandClock
from tests.waiting import eventually
from velro_auth.auth.singleflight import SingleFlight, _Flight
from velro_auth.errors import Busy, UpstreamTimeout, UpstreamUnavailable


class Call:
    """A call that ends when it is told to."""

    def __init__(self, outcome: Callable[[], str]) -> None:
        self._outcome = outcome
        self.count = 0
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.count += 1
        self.started.set()
        assert self.go.wait(10)
        return self._outcome()


class Key:
    """A key that counts its look-ups: once by a waiting caller, twice by the caller that runs the call."""

    def __init__(self) -> None:
        self.looks = 0

    def __hash__(self) -> int:
        self.looks += 1
        return 1


def fail() -> str:
    raise UpstreamUnavailable("down")


def ask_from_many_threads(flights: SingleFlight[str], call: Call, count: int = 20) -> list[str]:
    """Return what each thread got, an error as its class's name."""
    outcomes: list[str] = []
    key = Key()

    def ask() -> None:
        try:
            outcomes.append(flights.do(key, call))
        except UpstreamUnavailable as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    threads[0].start()
    assert call.started.wait(5)
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: key.looks > count)
    call.go.set()
    for thread in threads:
        thread.join(5)
    return outcomes


def test_parallel_callers_share_one_call() -> None:
    call = Call(lambda: "answer")

    assert ask_from_many_threads(SingleFlight(wait_s=5), call) == ["answer"] * 20
    assert call.count == 1


def test_parallel_callers_share_a_failure() -> None:
    call = Call(fail)

    assert ask_from_many_threads(SingleFlight(wait_s=5), call) == ["UpstreamUnavailable"] * 20
    assert call.count == 1


def test_nothing_is_kept_once_a_call_has_ended() -> None:
    flights: SingleFlight[int] = SingleFlight(wait_s=5)
    answers = iter([1, 2])

    assert flights.do("key", lambda: next(answers)) == 1
    assert flights.do("key", lambda: next(answers)) == 2


def test_a_failed_call_is_freed_without_a_garbage_collection() -> None:
    """Its exception passed the frame that has the call, and the flight has the exception."""
    call = functools.partial(fail)
    kept = weakref.ref(call)
    gc.disable()
    try:
        with contextlib.suppress(UpstreamUnavailable):
            SingleFlight[str](wait_s=5).do("key", call)
        del call

        assert kept() is None
    finally:
        gc.enable()


def test_what_a_waiting_caller_held_is_freed_without_a_garbage_collection() -> None:
    flights: SingleFlight[str] = SingleFlight(wait_s=5)
    first, key = Call(fail), Key()
    second = functools.partial(fail)
    kept = weakref.ref(second)

    def ask(call: Callable[[], str]) -> None:
        with contextlib.suppress(UpstreamUnavailable):
            flights.do(key, call)

    gc.disable()
    try:
        threads = [threading.Thread(target=ask, args=(first,))]
        threads[0].start()
        assert first.started.wait(5)
        threads.append(threading.Thread(target=ask, args=(second,)))
        del second
        threads[1].start()
        eventually(lambda: key.looks == 3)
        first.go.set()
        for thread in threads:
            thread.join(5)

        assert kept() is None
    finally:
        gc.enable()


def test_another_question_does_not_wait() -> None:
    """No lock is held during a call."""
    flights: SingleFlight[str] = SingleFlight(wait_s=5)
    slow = Call(lambda: "slow")
    thread = threading.Thread(target=flights.do, args=("slow", slow))
    thread.start()
    assert slow.started.wait(5)

    assert flights.do("other", lambda: "quick") == "quick"

    assert thread.is_alive()
    slow.go.set()
    thread.join(5)


def test_one_waits_for_another_only_so_long() -> None:
    flights: SingleFlight[str] = SingleFlight(wait_s=0.02)
    slow = Call(lambda: "slow")
    thread = threading.Thread(target=flights.do, args=("key", slow))
    thread.start()
    assert slow.started.wait(5)

    with pytest.raises(UpstreamTimeout):
        flights.do("key", slow)

    slow.go.set()
    thread.join(5)


def no_permit() -> AbstractContextManager[object]:
    raise Busy("no permit")


def test_without_a_permit_one_still_waits_for_a_call_that_began_a_moment_ago() -> None:
    """Tabs that refresh at once must not get different answers because of the logins around them."""
    flights: SingleFlight[str] = SingleFlight(wait_s=60, grace_s=60)
    call, answers = Call(lambda: "answer"), []
    first = threading.Thread(target=flights.do, args=("key", call))
    second = threading.Thread(target=lambda: answers.append(flights.do("key", call, permit=no_permit)))
    first.start()
    assert call.started.wait(10)
    second.start()
    call.go.set()
    for thread in (first, second):
        thread.join(10)

    assert answers == ["answer"]
    assert call.count == 1


def test_without_a_permit_one_does_not_wait_for_a_call_that_takes_long() -> None:
    """Each who waits costs a thread: a Supabase that hangs must leave some to the others."""
    clock = HandClock()
    flights: SingleFlight[str] = SingleFlight(wait_s=60, grace_s=1, clock=clock)
    call = Call(lambda: "answer")
    first = threading.Thread(target=flights.do, args=("key", call))
    first.start()
    assert call.started.wait(10)
    clock.advance(1)

    with pytest.raises(Busy, match="no permit"):
        flights.do("key", call, permit=no_permit)

    call.go.set()
    first.join(10)


def test_without_a_permit_no_call_is_made() -> None:
    flights: SingleFlight[str] = SingleFlight(wait_s=60)
    call = Call(lambda: "answer")

    with pytest.raises(Busy, match="no permit"):
        flights.do("key", call, permit=no_permit)

    assert call.count == 0
    assert flights.do("key", lambda: "next") == "next"


def test_a_timeout_of_the_call_itself_is_its_outcome() -> None:
    flights: SingleFlight[str] = SingleFlight(wait_s=5)

    def time_out() -> str:
        raise TimeoutError("the call's own")

    with pytest.raises(TimeoutError, match="own"):
        flights.do("key", time_out)


def test_a_call_that_is_broken_off_frees_those_who_wait() -> None:
    """A worker told to exit raises SystemExit in the middle of a request."""
    flights: SingleFlight[str] = SingleFlight(wait_s=5)
    broken_off, key = Call(lambda: "never"), Key()
    waiting: list[str] = []

    def stop() -> str:
        broken_off()
        raise SystemExit

    def wait() -> None:
        try:
            flights.do(key, lambda: "mine")
        except SystemExit:
            waiting.append("freed")

    def fly() -> None:
        with pytest.raises(SystemExit):
            flights.do(key, stop)

    first = threading.Thread(target=fly)
    first.start()
    assert broken_off.started.wait(5)
    second = threading.Thread(target=wait)
    second.start()
    eventually(lambda: key.looks == 3)
    broken_off.go.set()
    first.join(5)
    second.join(5)

    assert waiting == ["freed"]


def test_a_call_that_ends_while_a_caller_gives_up_is_no_defect() -> None:
    class JustInTime(Future[str]):
        """Gets its result when the time of the one who waits has just passed."""

        def result(self, timeout: float | None = None) -> str:
            if not self.done():
                self.set_result("signed in")
                raise TimeoutError
            return super().result(timeout)

    flights: SingleFlight[str] = SingleFlight(wait_s=5)
    flights._flights["key"] = _Flight(0.0, JustInTime())

    assert flights.do("key", fail) == "signed in"
