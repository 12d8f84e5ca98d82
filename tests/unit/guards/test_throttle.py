"""The throttle over counters in memory, with the limits as shipped."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import (
    CaptchaRequired,
    CircuitOpen,
    EmailNotConfirmed,
    InvalidCredentials,
    UpstreamThrottled,
    UpstreamTimeout,
)
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import DAY_S, HOUR_S, Limits, Record
from velro_auth.guards.throttle import Throttle, TooManyAttempts

ADA = "ada@example.com"
HOME = "192.0.2.1"
LIMITS = Limits()


class Login:
    """Logs in through a throttle and counts what reaches Supabase."""

    def __init__(self, clock: HandClock, limits: Limits = LIMITS) -> None:
        self.clock = clock
        self.refused_by: list[str] = []
        self.throttle = Throttle(
            attempts=MemoryAttempts(limits=limits, clock=clock),
            keyring=Keyring(b"secret"),
            on_refused=self.refused_by.append,
        )

    def wrong(self, account: str = ADA, address: str = HOME) -> float:
        """Try a wrong password; return how long the throttle says to wait, 0 where it let the try through."""
        try:
            with self.throttle.attempt(account, address):
                fail()
        except InvalidCredentials:
            return 0.0
        except TooManyAttempts as error:
            return error.retry_after_s or 0.0

    def right(self, account: str = ADA, address: str = HOME) -> bool:
        """Log in; return whether the pair was known."""
        with self.throttle.attempt(account, address) as attempt:
            return attempt.is_known

    def guesses_within(self, seconds: float, networks: int) -> int:
        """Guess one account's password as often as anybody can from so many networks."""
        end, tried = self.clock.now + seconds, 0
        while self.clock.now < end:
            waits = [self.wrong(address=f"10.{number // 256}.{number % 256}.1") for number in range(networks)]
            tried += waits.count(0.0)
            self.clock.advance(min(*waits, end - self.clock.now))
        return tried


@pytest.fixture
def login(clock: HandClock) -> Login:
    return Login(clock)


def test_the_eleventh_failure_from_eleven_networks_is_refused(login: Login) -> None:
    """ASVS 6.3.1: per account, whatever the addresses."""
    waits = [login.wrong(address=f"10.0.{number}.1") for number in range(11)]

    assert waits == [0.0] * 10 + [30.0]
    assert login.refused_by == ["strangers"]


def test_waits_double_from_thirty_seconds_to_an_hour(login: Login, clock: HandClock) -> None:
    """NIST SP 800-63B-4, 3.2.2."""
    waits: list[float] = []
    while len(waits) < 9:
        wait = login.wrong()
        clock.advance(wait)
        waits += [wait] if wait else []

    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_strangers_have_at_most_twenty_guesses_in_any_hour_even_if_the_owner_logs_in(
    login: Login, clock: HandClock
) -> None:
    """The owner's success ends the streak, as NIST asks, but does not refill the hour."""
    login.right()
    tried = 0
    for _ in range(60):
        tried += login.guesses_within(60, networks=30)
        login.right()

    assert 16 < tried <= 20


def test_strangers_alone_have_sixteen_guesses_in_the_first_hour_and_then_one(login: Login) -> None:
    assert [login.guesses_within(HOUR_S, networks=30) for _ in range(3)] == [16, 1, 1]


def test_eighty_failures_in_a_row_end_it_for_strangers_and_a_hundred_for_all(login: Login, clock: HandClock) -> None:
    """NIST SP 800-63B-4, 3.2.2: at most 100 in a row; the last 20 are left to known networks."""
    login.right()
    assert login.guesses_within(6 * DAY_S, networks=12) == 80

    tried = 0
    while (wait := login.wrong()) <= HOUR_S:
        tried += wait == 0
        clock.advance(wait)

    assert (tried, login.refused_by[-1]) == (20, "account")


def test_nobody_is_locked_out_for_good(login: Login, clock: HandClock) -> None:
    """ASVS 6.1.1: a stop ends a week after the last counted failure; refused tries do not prolong it."""
    while login.wrong(address=f"10.0.{len(login.refused_by) % 12}.1") <= HOUR_S:
        clock.advance(HOUR_S)
    stop_ends = clock.now + login.wrong()
    while clock.now + HOUR_S < stop_ends:
        clock.advance(HOUR_S)
        assert login.wrong() == pytest.approx(stop_ends - clock.now)
    clock.advance(stop_ends - clock.now)

    assert login.right() is False


def test_a_known_network_logs_in_whatever_strangers_do(login: Login) -> None:
    login.right()
    login.guesses_within(DAY_S, networks=60)

    assert login.wrong(address="10.250.0.1") > 0
    assert login.right() is True


def test_a_success_ends_the_streak(login: Login) -> None:
    for _ in range(3):
        assert [login.wrong() for _ in range(4)] == [0.0] * 4
        login.right()


def test_an_attackers_own_logins_do_not_clear_the_network(login: Login) -> None:
    """The classic hole: guess, guess, log in to an account of your own, guess on."""
    tried = 0
    for number in range(200):
        tried += login.wrong(account=f"{number}@example.com") == 0
        login.right(account="attacker@example.com")

    assert tried == LIMITS.network.burst
    assert login.refused_by[-1] == "network"


def test_a_spray_over_all_accounts_meets_the_limit_of_the_service(login: Login) -> None:
    login.right()
    tried = sum(
        login.wrong(account=f"{number}@example.com", address=f"10.{number // 256}.{number % 256}.1") == 0
        for number in range(1000)
    )

    assert tried == LIMITS.service.burst
    assert login.right() is True


@pytest.mark.parametrize(
    "error",
    [UpstreamTimeout, EmailNotConfirmed, CaptchaRequired, UpstreamThrottled, CircuitOpen, KeyError, SystemExit],
)
def test_only_a_refused_password_counts(login: Login, error: type[BaseException]) -> None:
    """An outage must not lock anybody out."""
    for _ in range(100):
        with pytest.raises(error), login.throttle.attempt(ADA, HOME):
            raise error

    assert [login.wrong() for _ in range(6)] == [0.0] * 5 + [30.0]


def test_an_outage_after_a_wait_does_not_start_the_wait_again(login: Login, clock: HandClock) -> None:
    for _ in range(5):
        login.wrong()
    clock.advance(30)

    with pytest.raises(UpstreamTimeout), login.throttle.attempt(ADA, HOME):
        raise UpstreamTimeout

    assert login.right() is False


@given(pauses=st.lists(st.floats(0, 5000), min_size=1, max_size=40))
def test_retry_after_is_exact(pauses: list[float]) -> None:
    """Just before, the try is refused; at that moment it is not."""
    login = Login(clock := HandClock())
    for pause in pauses:
        clock.advance(pause)
        while (wait := login.wrong()) == 0:
            pass
        clock.advance(wait - 0.001)
        assert login.wrong() > 0
        clock.advance(0.001001)
        assert login.wrong() == 0


def test_a_refused_try_costs_nothing(login: Login, clock: HandClock) -> None:
    """Whoever keeps knocking waits no longer than whoever does not."""
    while login.wrong() == 0:
        pass
    for _ in range(1000):
        login.wrong()
    clock.advance(30)

    assert login.wrong() == 0


def test_five_hundred_threads_meet_exactly_the_limit(login: Login) -> None:
    let_through: list[float] = []
    together = threading.Barrier(500)

    def guess() -> None:
        together.wait(30)
        let_through.append(login.wrong())

    threads = [threading.Thread(target=guess) for _ in range(500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (let_through.count(0.0), len(let_through)) == (LIMITS.pair.free, 500)


def test_the_allowance_tells_what_the_caller_has_left(login: Login) -> None:
    """Data for ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-10)."""
    seen = []
    for _ in range(6):
        try:
            with login.throttle.attempt(ADA, HOME) as attempt:
                seen.append(attempt.allowance)
                fail()
        except InvalidCredentials:
            pass
        except TooManyAttempts as error:
            seen.append(error.allowance)

    assert [allowance.remaining for allowance in seen] == [4, 3, 2, 1, 0, 0]

    assert {(allowance.quota, allowance.window_s) for allowance in seen} == {(5, DAY_S)}
    assert (seen[0].reset_s, seen[-1].reset_s) == (DAY_S, 30.0)


@given(processes=st.integers(1, 64))
def test_shares_add_up_to_the_limit_or_one_each(processes: int) -> None:
    share = LIMITS.scaled(1 / processes)

    for scope, limit in LIMITS.by_scope().items():
        part = share.by_scope()[scope]
        assert part.burst * processes <= max(limit.burst, processes)
        assert part.burst >= 1
        assert part.free >= 1
        if limit.refill_s:
            assert processes * HOUR_S / part.refill_s <= HOUR_S / limit.refill_s * 1.000001


def test_a_throttle_can_be_opened_for_a_measurement(clock: HandClock) -> None:
    login = Login(clock, LIMITS.scaled(1000))

    assert [login.wrong() for _ in range(3000)] == [0.0] * 3000


@pytest.mark.parametrize("now", [480853.901, 44808.917])
def test_no_rounding_of_the_clock_makes_a_second_more(now: float) -> None:
    """At some times of a clock ``now + 86400 - now`` is a little more than a day."""
    limit = LIMITS.pair

    allowance = limit.allowance(limit.counted(Record(), now), now)

    assert allowance.reset_s > DAY_S
    assert allowance.fields() == [("RateLimit-Policy", '"login";q=5;w=86400'), ("RateLimit", '"login";r=4;t=86400')]
