"""The circuit breaker opens on outages only, probes one at a time, and closes quickly."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from tests.waiting import eventually
from velro_auth import errors
from velro_auth.errors import CircuitOpen, InvalidCredentials, UpstreamFailed, UpstreamTimeout
from velro_auth.guards.asking import MIN_CALLS, OPEN_S, PROBE_S, CircuitBreaker, State

OUTAGES = [errors.UpstreamUnavailable, errors.UpstreamTimeout, errors.UpstreamFailed]
ANSWERS = [
    *(errors.InvalidCredentials, errors.EmailNotConfirmed, errors.CaptchaRequired, errors.SessionExpired),
    *(errors.UpstreamThrottled, errors.UpstreamRefused, errors.UpstreamMisconfigured, errors.TokenInvalid),
]


class Upstream:
    """Calls something through a breaker."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.changes: list[State] = []
        self.breaker = CircuitBreaker(clock=clock)

    @property
    def state(self) -> str:
        return self.breaker.state

    def call(self, error: type[BaseException] | None = None) -> bool:
        """Make one call; return whether the breaker allowed it. Record when the breaker opens or closes."""
        try:
            with self.breaker.attempt():
                if error:
                    fail(error)
        except CircuitOpen:
            return False
        except BaseException as raised:
            if error is None or not isinstance(raised, error):
                raise
        if self.state == "open" and "open" not in self.changes[-1:]:
            self.changes.append("open")
        if self.state == "closed" and "open" in self.changes[-1:]:
            self.changes.append("closed")
        return True

    def fail_until_open(self) -> None:
        for _ in range(MIN_CALLS):
            self.call(UpstreamFailed)
        assert self.breaker.state == "open"


@pytest.fixture
def upstream(clock: HandClock) -> Upstream:
    return Upstream(clock)


@pytest.mark.slow
def test_ten_thousand_storms_of_refusals_leave_it_closed() -> None:
    """In any order and at any speed: a Supabase that answers works."""
    chance = random.Random(20261122)  # noqa: S311 - a seed makes a failure repeatable
    for _ in range(10_000):
        upstream = Upstream(HandClock())
        for error in chance.choices([*ANSWERS, None], k=chance.randint(20, 60)):
            upstream.clock.advance(chance.choice([0, 0.001, 0.3]))
            assert upstream.call(error)
        assert upstream.state == "closed"


@given(st.lists(st.tuples(st.sampled_from([*ANSWERS, None]), st.floats(0, 20)), max_size=200))
def test_any_sequence_of_answers_leaves_it_closed(calls: list[tuple[type[BaseException] | None, float]]) -> None:
    upstream = Upstream(HandClock())
    for error, pause in calls:
        upstream.clock.advance(pause)
        assert upstream.call(error)

    assert upstream.changes == []


@given(st.lists(st.tuples(st.sampled_from([*OUTAGES, *ANSWERS, None]), st.floats(0, 3)), max_size=200))
def test_it_opens_exactly_when_half_of_twenty_calls_were_bad(
    calls: list[tuple[type[BaseException] | None, float]],
) -> None:
    """Against a plain count; rows of a second may keep a call one second too long, never too short."""
    upstream, log = Upstream(HandClock()), list[tuple[float, bool]]()
    for error, pause in calls:
        upstream.clock.advance(pause)
        now = upstream.clock.now
        log.append((now, error in OUTAGES))
        upstream.call(error)
        recent = {span: [bad for at, bad in log if at > now - span] for span in (9.0, 10.0, 11.0)}
        verdicts = {
            span: error in OUTAGES and len(bads) >= MIN_CALLS and 2 * sum(bads) >= len(bads)
            for span, bads in recent.items()
        }
        if len(set(verdicts.values())) == 1:
            assert (upstream.state == "open") == verdicts[10.0]
        if upstream.state != "closed":
            return


@pytest.mark.parametrize(
    ("good", "bad", "state"),
    [
        (MIN_CALLS // 2, MIN_CALLS // 2, "open"),
        (MIN_CALLS // 2 + 1, MIN_CALLS // 2 - 1, "closed"),
        (MIN_CALLS // 2 + 1, MIN_CALLS // 2, "closed"),
        (MIN_CALLS // 2 + 1, MIN_CALLS // 2 + 1, "open"),
        (0, MIN_CALLS - 1, "closed"),
        (0, MIN_CALLS, "open"),
    ],
)
def test_it_opens_at_exactly_half(upstream: Upstream, good: int, bad: int, state: str) -> None:
    for error in [None] * good + [UpstreamFailed] * bad:
        upstream.call(error)

    assert upstream.state == state


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_opens_it(upstream: Upstream, outage: type[BaseException]) -> None:
    for _ in range(MIN_CALLS - 1):
        assert upstream.call(outage)
    assert upstream.state == "closed"

    upstream.call(outage)

    assert (upstream.state, upstream.changes) == ("open", ["open"])
    assert not upstream.call()


def test_a_call_is_told_how_long_to_stay_away(upstream: Upstream, clock: HandClock) -> None:
    upstream.fail_until_open()
    clock.advance(1)

    with pytest.raises(CircuitOpen) as refused, upstream.breaker.attempt():
        pass

    assert refused.value.retry_after_s == OPEN_S - 1


def test_old_failures_are_forgotten(upstream: Upstream, clock: HandClock) -> None:
    for _ in range(MIN_CALLS - 1):
        upstream.call(UpstreamFailed)
    clock.advance(11)

    upstream.call(UpstreamFailed)

    assert upstream.state == "closed"


def test_a_refused_password_closes_it(upstream: Upstream, clock: HandClock) -> None:
    """A Supabase that says no is a Supabase that works."""
    upstream.fail_until_open()
    clock.advance(OPEN_S)

    upstream.call(InvalidCredentials)

    assert (upstream.state, upstream.changes) == ("closed", ["open", "closed"])


def test_it_starts_afresh_when_it_closes(upstream: Upstream, clock: HandClock) -> None:
    """Or one more failure would open it again while the old ones are still within the ten seconds."""
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    upstream.call()

    upstream.call(UpstreamFailed)

    assert upstream.state == "closed"


def test_one_probe_at_a_time(upstream: Upstream, clock: HandClock) -> None:
    upstream.fail_until_open()
    clock.advance(OPEN_S)

    with upstream.breaker.attempt():
        assert upstream.state == "half-open"
        assert not any(upstream.call() for _ in range(100))

    assert all(upstream.call() for _ in range(100))


def test_a_failed_probe_means_another_pause(upstream: Upstream, clock: HandClock) -> None:
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    upstream.call(UpstreamTimeout)

    assert not upstream.call()
    clock.advance(OPEN_S)
    assert upstream.call()


def test_a_probe_that_never_comes_back_is_given_up(upstream: Upstream, clock: HandClock) -> None:
    """Its thread died, or hangs for longer than anybody waits."""
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    lost = upstream.breaker.attempt()
    lost.__enter__()
    assert not upstream.call()

    clock.advance(PROBE_S)

    assert upstream.call()
    assert upstream.state == "closed"


def test_a_probe_that_was_given_up_may_still_bring_good_news(upstream: Upstream, clock: HandClock) -> None:
    """Or answers slower than the patience for a probe would keep it open for ever."""
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    with upstream.breaker.attempt():
        clock.advance(PROBE_S + 1)
        with pytest.raises(UpstreamTimeout), upstream.breaker.attempt():
            raise UpstreamTimeout

    assert upstream.state == "closed"


def test_a_probe_that_ends_after_it_was_given_up_keeps_nobody_from_probing(
    upstream: Upstream, clock: HandClock
) -> None:
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    probe = upstream.breaker.attempt()
    probe.__enter__()
    clock.advance(PROBE_S + 1)
    _end(probe)

    assert upstream.call()
    assert upstream.state == "closed"


def test_a_probe_that_was_given_up_brings_no_bad_news(upstream: Upstream, clock: HandClock) -> None:
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    with pytest.raises(UpstreamTimeout), upstream.breaker.attempt():
        _succeed_after(upstream, PROBE_S)

    assert upstream.state == "closed"


def _succeed_after(upstream: Upstream, seconds: float) -> NoReturn:
    """Let somebody else succeed meanwhile, and fail then."""
    upstream.clock.advance(seconds)
    assert upstream.call()
    raise UpstreamTimeout


def test_calls_from_before_do_not_count_when_it_is_open(upstream: Upstream, clock: HandClock) -> None:
    with upstream.breaker.attempt():
        upstream.fail_until_open()

    assert upstream.state == "open"


def test_a_defect_of_ours_says_nothing_about_supabase(upstream: Upstream, clock: HandClock) -> None:
    for _ in range(100):
        upstream.call(KeyError)
    assert upstream.state == "closed"
    upstream.fail_until_open()
    clock.advance(OPEN_S)

    upstream.call(KeyError)

    assert upstream.state == "open"
    assert upstream.call()


@given(fault_s=st.floats(0.1, 120), gap_s=st.floats(0.01, 0.5), hangs=st.booleans())
def test_the_first_success_comes_within_five_seconds_after_the_fault(
    fault_s: float, gap_s: float, *, hangs: bool
) -> None:
    """Calls that hang take the whole deadline of 5 s, even when the fault ends meanwhile."""
    clock = HandClock(0.0)
    breaker = CircuitBreaker(clock=clock)
    out: list[tuple[float, object]] = []
    while clock.now < fault_s + 10:
        clock.advance(gap_s)
        while out and out[0][0] <= clock.now:
            _end(out.pop(0)[1])
        call = breaker.attempt()
        try:
            call.__enter__()
        except CircuitOpen:
            continue
        if clock.now >= fault_s:
            assert clock.now <= fault_s + 5
            return
        out.append((clock.now + (5.0 if hangs else 0.0), call))
    pytest.fail("no success at all")


def _end(call: object) -> None:
    assert hasattr(call, "__exit__")
    error = UpstreamTimeout()
    call.__exit__(UpstreamTimeout, error, None)


def test_calls_do_not_wait_for_each_other() -> None:
    """Twenty calls of 50 ms in twenty threads take 50 ms, not a second: no lock is held meanwhile."""
    breaker = CircuitBreaker()
    together = threading.Barrier(20)

    def call() -> None:
        together.wait(10)
        with breaker.attempt():
            time.sleep(0.05)

    threads = [threading.Thread(target=call) for _ in range(20)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert time.monotonic() - started < 0.5


def test_of_many_threads_exactly_one_probes() -> None:
    clock = HandClock()
    upstream = Upstream(clock)
    upstream.fail_until_open()
    clock.advance(OPEN_S)
    together, let_through = threading.Barrier(50), itertools.count()
    go_home = threading.Event()

    def call() -> None:
        together.wait(10)
        try:
            with upstream.breaker.attempt():
                next(let_through)
                go_home.wait(10)
        except CircuitOpen:
            pass

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(thread.is_alive() for thread in threads) == 1)
    go_home.set()
    for thread in threads:
        thread.join(10)

    assert next(let_through) == 1
