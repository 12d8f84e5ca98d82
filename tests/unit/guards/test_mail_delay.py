"""Requests that may send a mail are answered at fixed times, whatever Supabase does."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.threads import out_of_threads
from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from tests.waiting import eventually
from velro_auth.errors import Busy, InvalidRequest, UpstreamTimeout
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.guards.mail_delay import MailDelay, MailDelayState

PATIENCE_S = 60.0
HOME = "192.0.2.1"


def nothing() -> None:
    """Ask nobody."""


class Supabase:
    """A call that goes on until it is released."""

    def __init__(self) -> None:
        self.asked, self.may_answer, self.answered = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.asked.set()
        assert self.may_answer.wait(PATIENCE_S)
        self.answered.set()


class Requests:
    """Requests that may send a mail, on a clock that moves while they wait."""

    def __init__(self, clock: HandClock, *, delay_ms: float = 1500.0, places: int = 6, permits: int = 10) -> None:
        self.clock = clock
        self.permits = FailureDelay(permits=permits, reserved=2, clock=clock, sleep=clock.advance)
        self.state = MailDelayState()
        self.before_waking: Callable[[], object] = nothing
        self._places, self._delay_ms = places, delay_ms
        self.delay = self.remake(places=places)

    def remake(self, *, places: int) -> MailDelay:
        return MailDelay(
            delay_ms=self._delay_ms,
            places=places,
            permits=self.permits,
            is_acquainted=lambda address: address == HOME,
            clock=self.clock,
            sleep=self._sleep,
            state=self.state,
        )

    def _sleep(self, seconds: float) -> None:
        self.before_waking()
        self.clock.advance(seconds)

    def run(self, call: Callable[[], None] = nothing, *, late_s: float = 0.0) -> tuple[float, BaseException | None]:
        """Answer a request that came *late_s* ago; return when it was answered, after its arrival, and the error."""
        arrived = self.clock.now - late_s
        error = self.delay.run(call, arrived)
        return self.clock.now - arrived, error


@pytest.fixture
def requests(clock: HandClock) -> Requests:
    return Requests(clock)


@contextlib.contextmanager
def in_progress(
    requests: Requests, count: int, addresses: list[str], *, before: int = 0
) -> Iterator[Callable[[], None]]:
    """Have *count* requests wait until the block ends, or until what it yields is called; *before* wait already."""
    may_wake = threading.Event()
    requests.before_waking = lambda: may_wake.wait(PATIENCE_S)

    def run(number: int) -> None:
        requests.delay.run(nothing, requests.clock.now, address=addresses[number % len(addresses)])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    eventually(lambda: requests.state.waiting.count == before + count)
    try:
        yield may_wake.set
    finally:
        may_wake.set()
        for thread in threads:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize(("late_s", "answered_s"), [(0.0, 1.5), (0.2, 1.5), (1.4, 1.5), (1.6, 3.0), (4.5, 6.0)])
def test_an_answer_leaves_at_the_next_multiple_after_the_arrival(
    requests: Requests, late_s: float, answered_s: float
) -> None:
    found_s, error = requests.run(late_s=late_s)

    assert found_s == pytest.approx(answered_s)
    assert error is None


@given(late_s=st.floats(0, 60), delay_ms=st.floats(1, 10_000))
def test_no_answer_is_early_or_more_than_one_delay_late(late_s: float, delay_ms: float) -> None:
    requests = Requests(HandClock(1000.0), delay_ms=delay_ms)

    answered_s, _ = requests.run(late_s=late_s)

    assert late_s - 1e-9 <= answered_s <= late_s + delay_ms / 1000 + 1e-9


def test_a_slow_call_is_answered_as_early_as_a_fast_one(requests: Requests) -> None:
    supabase = Supabase()
    requests.before_waking = lambda: supabase.asked.wait(PATIENCE_S)

    assert requests.run(supabase) == (1.5, None)
    assert not supabase.answered.is_set()
    assert requests.state.calls.count == 1
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)
    assert supabase.answered.is_set()


def test_a_call_that_has_failed_by_then_is_told(requests: Requests) -> None:
    error = InvalidRequest({"password": ["too short"]})
    failed = threading.Event()

    def call() -> None:
        failed.set()
        raise error

    def wait() -> None:
        assert failed.wait(PATIENCE_S)
        eventually(lambda: "mail" not in {thread.name for thread in threading.enumerate()})

    requests.before_waking = wait

    assert requests.run(call) == (1.5, error)


@pytest.mark.parametrize(
    ("error", "level"),
    [(UpstreamTimeout("too slow"), logging.WARNING), (ValueError("a defect"), logging.ERROR)],
    ids=["ours", "a defect"],
)
def test_a_call_that_fails_behind_the_answer_is_logged(
    requests: Requests, caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    may_fail = threading.Event()

    def call() -> None:
        assert may_fail.wait(PATIENCE_S)
        raise error

    with caplog.at_level(logging.INFO, "velro_auth.guards"):
        assert requests.run(call) == (1.5, None)
        may_fail.set()
        eventually(lambda: requests.state.calls.count == 0)

    assert [(record.levelno, record.message.partition(",")[0]) for record in caplog.records] == [
        (level, "a call failed behind its answer")
    ]


def is_no_mail_running() -> bool:
    return "mail" not in {thread.name for thread in threading.enumerate()}


def test_a_failure_that_was_told_is_not_logged(requests: Requests, caplog: pytest.LogCaptureFixture) -> None:
    requests.before_waking = lambda: eventually(is_no_mail_running)

    with caplog.at_level(logging.INFO, "velro_auth.guards"):
        _, error = requests.run(lambda: fail(UpstreamTimeout))

    assert isinstance(error, UpstreamTimeout)
    assert not caplog.records


@pytest.mark.parametrize("is_late", [False, True])
def test_what_a_failed_call_held_is_freed_without_a_garbage_collection(requests: Requests, *, is_late: bool) -> None:
    may_fail = threading.Event()

    def refuse(_held: object) -> None:
        assert may_fail.wait(PATIENCE_S)
        raise UpstreamTimeout("too slow")

    if not is_late:
        may_fail.set()
        requests.before_waking = lambda: eventually(is_no_mail_running)
    call = functools.partial(refuse, object())
    kept = weakref.ref(call)
    gc.disable()
    try:
        assert isinstance(requests.run(call)[1], UpstreamTimeout) is not is_late
        del call
        may_fail.set()
        eventually(is_no_mail_running)

        assert kept() is None
    finally:
        gc.enable()


def test_without_a_delay_calls_are_made_in_order_and_answered_when_they_end(clock: HandClock) -> None:
    requests = Requests(clock, delay_ms=0)
    made: list[int] = []

    for number in range(3):
        assert requests.run(lambda number=number: made.append(number)) == (0.0, None)  # type: ignore[misc]
    _, error = requests.run(lambda: fail(UpstreamTimeout))

    assert made == [0, 1, 2]
    assert isinstance(error, UpstreamTimeout)


def test_without_a_free_place_nothing_is_asked(requests: Requests) -> None:
    asked: list[int] = []

    with in_progress(requests, 4, [""]), pytest.raises(Busy):
        requests.delay.run(lambda: asked.append(1), requests.clock.now)

    assert asked == []
    assert requests.state.waiting.refused == 1
    requests.before_waking = nothing
    assert requests.run() == (1.5, None)


def test_calls_that_go_on_refuse_no_request(requests: Requests) -> None:
    """Else which requests are refused would tell how long Supabase took, so who has an account."""
    supabase, address = Supabase(), "203.0.113.1"

    for _ in range(7):
        assert requests.delay.run(supabase, requests.clock.now, address=address) is None

    assert (requests.state.waiting.count, requests.state.calls.count) == (0, 7)
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)


def test_slow_calls_do_not_pile_up_and_no_answer_tells(requests: Requests, caplog: pytest.LogCaptureFixture) -> None:
    supabase, asked = Supabase(), list[int]()
    for _ in range(16):
        requests.run(supabase)

    assert requests.run(lambda: asked.append(1)) == (1.5, None)

    assert asked == []
    assert (requests.state.calls.refused, requests.state.waiting.refused) == (1, 0)
    assert caplog.messages == ["a mail was withheld: too many calls go on behind their answers"]
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)
    requests.before_waking = lambda: eventually(lambda: asked == [1])
    assert requests.run(lambda: asked.append(1)) == (1.5, None)


def test_slow_calls_of_one_network_and_of_strangers_leave_places_for_others(requests: Requests) -> None:
    supabase, asked = Supabase(), list[str]()

    def ask_for(address: str) -> None:
        requests.delay.run(lambda: asked.append(address), requests.clock.now, address=address)

    for _ in range(12):
        requests.delay.run(supabase, requests.clock.now, address="203.0.113.1")
    ask_for("203.0.113.2")
    ask_for("198.51.100.1")
    eventually(lambda: asked == ["198.51.100.1"])
    eventually(lambda: requests.state.calls.count == 12)
    for _ in range(4):
        requests.delay.run(supabase, requests.clock.now, address="192.0.3.1")
    ask_for("198.51.100.1")
    ask_for(HOME)
    eventually(lambda: asked == ["198.51.100.1", HOME])
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)


def test_one_network_takes_no_more_than_half_of_the_places(requests: Requests) -> None:
    with in_progress(requests, 3, ["203.0.113.1", "203.0.113.2"]) as wake:
        with pytest.raises(Busy):
            requests.delay.run(nothing, requests.clock.now, address="203.0.113.3")
        wake()
        requests.delay.run(nothing, requests.clock.now, address="198.51.100.1")

    assert not requests.state.waiting.networks


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["2001:db8:1:101::1", "2001:db8:1:102::1", "2001:db8:1:103::1"], id="one /56"),
        pytest.param(["2001:db8:1:101::1", "2001:db8:1:201::1", "2001:db8:1:301::1"], id="one /48"),
    ],
)
def test_the_networks_of_one_subscriber_take_no_more_than_half_of_the_places(
    requests: Requests, addresses: list[str]
) -> None:
    with in_progress(requests, 3, addresses) as wake:
        with pytest.raises(Busy):
            requests.delay.run(nothing, requests.clock.now, address="2001:db8:1:1ff::1")
        wake()
        requests.delay.run(nothing, requests.clock.now, address="2001:db8:2::1")

    assert not requests.state.waiting.networks


def test_a_network_of_ipv6_leaves_a_place_to_its_neighbours(requests: Requests) -> None:
    with in_progress(requests, 2, ["2001:db8:1:101::1"]) as wake:
        with pytest.raises(Busy):
            requests.delay.run(nothing, requests.clock.now, address="2001:db8:1:101::2")
        wake()
        requests.delay.run(nothing, requests.clock.now, address="2001:db8:1:102::1")


def test_a_flood_from_many_networks_leaves_places_for_those_that_logged_in_before(requests: Requests) -> None:
    with in_progress(requests, 4, ["203.0.113.1", "198.51.100.1"]) as wake:
        with pytest.raises(Busy):
            requests.delay.run(nothing, requests.clock.now, address="203.0.114.1")
        wake()
        requests.delay.run(nothing, requests.clock.now, address=HOME)

    assert requests.state.waiting.refused == 1


def test_networks_that_logged_in_before_get_no_more_than_all_places(requests: Requests) -> None:
    networks = [f"203.0.{number}.1" for number in range(4)]
    with in_progress(requests, 4, networks), in_progress(requests, 2, [HOME], before=4), pytest.raises(Busy):
        requests.delay.run(nothing, requests.clock.now, address=HOME)


def test_a_flood_leaves_permits_for_sessions_and_logins(requests: Requests) -> None:
    with in_progress(requests, 4, [""]):
        with pytest.raises(Busy):
            requests.delay.run(nothing, requests.clock.now)
        assert requests.permits.free == 6
        with requests.permits.permit(), requests.permits.permit(), requests.permits.hold(requests.clock.now):
            pass

    assert requests.permits.free == 10


def test_permits_that_are_reserved_for_logins_are_not_taken(clock: HandClock) -> None:
    requests = Requests(clock, places=50, permits=5)

    with in_progress(requests, 3, [""]), pytest.raises(Busy):
        requests.delay.run(nothing, requests.clock.now)

    assert requests.state.waiting.refused == 0


def test_a_system_without_threads_answers_busy_before_anything_is_asked(requests: Requests) -> None:
    asked: list[int] = []

    with out_of_threads(), pytest.raises(Busy):
        requests.run(lambda: asked.append(1))

    assert asked == []
    assert (requests.state.calls.count, requests.permits.free) == (0, 10)


def test_new_settings_keep_the_places_in_use(requests: Requests) -> None:
    supabase = Supabase()
    for _ in range(16):
        requests.run(supabase)

    requests.delay = requests.remake(places=7)
    for _ in range(3):
        requests.run(supabase)
    requests.run(lambda: None)
    assert (requests.state.calls.count, requests.state.calls.refused) == (19, 1)
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)


def test_a_stopping_process_waits_for_its_mails(requests: Requests) -> None:
    supabase = Supabase()
    requests.run(supabase)
    stopping = threading.Thread(target=requests.state.finish, args=(PATIENCE_S,))
    stopping.start()

    assert stopping.is_alive()
    supabase.may_answer.set()
    stopping.join(PATIENCE_S)

    assert supabase.answered.is_set()
    assert not stopping.is_alive()


def test_a_stopping_process_does_not_wait_for_ever(requests: Requests) -> None:
    supabase = Supabase()
    requests.run(supabase)

    requests.state.finish(0.01)

    assert requests.state.calls.count == 1
    supabase.may_answer.set()
    eventually(lambda: requests.state.calls.count == 0)


def test_the_delay_is_reported_for_the_metrics(requests: Requests) -> None:
    held: list[float] = []

    requests.delay.run(nothing, requests.clock.now - 0.5, on_held=held.append)

    assert held == [pytest.approx(1.0)]
