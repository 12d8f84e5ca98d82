"""Floods of mails, and of sign-ups that need no mail."""

from __future__ import annotations

import contextlib

import pytest

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import Busy, CaptchaRequired, InvalidRequest, Throttled, UpstreamThrottled, UpstreamUnavailable
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.mails import MailBudget, MailPermit, SignUpLimit
from velro_auth.guards.upstream_rate_limit import MAIL_REFILL_S, RateLimitBucket

ADA = "ada@example.com"
HOME = "192.0.2.1"
KEYRING = Keyring(b"secret")


class Mails:
    """The mails that Supabase was asked to send."""

    def __init__(
        self, clock: HandClock, limits: BudgetLimits | None = None, copy: RateLimitBucket | None = None
    ) -> None:
        self.clock = clock
        self.withheld: list[tuple[str, str, str]] = []
        self.attempts = MemoryAttempts(limits=Limits(), clock=clock)
        budgets = MemoryBudgets(limits=limits or BudgetLimits(), clock=clock)
        self.budget = MailBudget(
            budgets=budgets,
            keyring=KEYRING,
            attempts=self.attempts,
            copy=copy or RateLimitBucket.never(),
            on_withheld=lambda *what: self.withheld.append(what),
        )
        self.sign_ups = SignUpLimit(budgets=budgets, keyring=KEYRING)

    def ask(self, account: str = ADA, address: str = HOME, times: int = 1) -> int:
        """Ask for mails; return how many are sent."""
        return sum(bool(self.budget.take(account, address)) for _ in range(times))

    def knows(self, account: str = ADA, address: str = HOME) -> None:
        self.attempts.remember(KEYRING.caller(account, address))


@pytest.fixture
def mails(clock: HandClock) -> Mails:
    return Mails(clock)


@pytest.fixture
def many(clock: HandClock) -> Mails:
    """The mails of a service with a large budget."""
    return Mails(clock, BudgetLimits.with_mails(100_000))


def address_of(number: int) -> str:
    return f"10.{number // 250}.{number % 250}.1"


def test_two_mails_for_a_pair_and_hour(mails: Mails) -> None:
    assert mails.ask(times=10) == 2
    mails.clock.advance(3600)
    assert mails.ask(times=10) == 2


def test_six_mails_for_an_address_and_hour(many: Mails) -> None:
    """Strangers can ask for four of them."""
    for number in range(5):
        many.knows(address=address_of(number))

    assert sum(many.ask(address=address_of(number), times=3) for number in range(5)) == 6


def test_ten_mails_for_a_network_and_hour(many: Mails) -> None:
    assert sum(many.ask(f"u{number}@example.com") for number in range(100)) == 10


@pytest.mark.parametrize(("networks", "sent"), [(1, 10), (100, 15), (1000, 20)])
def test_ipv6_sites_have_a_budget_of_their_own(many: Mails, networks: int, sent: int) -> None:
    """One /64, a /56 of them, and a /48 of those."""
    addresses = [f"2001:db8:0:{number:x}::1" for number in range(networks)]

    assert sum(many.ask(f"u{n}@example.com", addresses[n % networks]) for n in range(1000)) == sent


def test_ten_thousand_forgotten_passwords_of_one_address(mails: Mails) -> None:
    """From as many networks. The owner still gets two, from a network that logged in before."""
    mails.knows()

    assert sum(mails.ask(address=address_of(number)) for number in range(10_000)) == 4
    assert mails.ask(times=5) == 2


def test_ten_thousand_forgotten_passwords_of_as_many_addresses(mails: Mails) -> None:
    """From as many networks. Real people still get theirs, the others no more than half of the mails."""
    people = [(f"person{number}@example.com", f"172.16.{number}.1") for number in range(20)]
    for person in people:
        mails.knows(*person)

    sent = sum(mails.ask(f"u{number}@example.com", address_of(number)) for number in range(10_000))

    assert sent == 12
    assert sum(mails.ask(*person) for person in people) == 13
    assert len(mails.withheld) == 10_000 - 12 + 7


def test_people_of_a_network_that_logged_in_before_get_mails_too(mails: Mails) -> None:
    """A new device, or an account that nobody logged in to yet: up to half of what is kept."""
    mails.knows("somebody@example.com", "192.0.2.200")
    for number in range(1000):
        mails.ask(f"u{number}@example.com", address_of(number))

    assert sum(mails.ask(f"new{number}@example.com", HOME) for number in range(20)) == 18 - 12


def test_a_flood_from_networks_that_logged_in_leaves_mails_for_known_pairs(mails: Mails) -> None:
    """Anybody can sign up and log in from some networks."""
    mails.knows()
    for number in range(100):
        mails.knows("eve@example.com", address_of(number))

    sent = sum(mails.ask(f"u{number}@example.com", address_of(number % 100)) for number in range(10_000))

    assert sent == 18
    assert mails.ask(times=3) == 2


def test_every_hour_sees_the_budget_and_no_more(mails: Mails) -> None:
    mails.knows()
    times = []
    for number in range(5000):
        if mails.ask(f"u{number}@example.com", address_of(number)):
            times.append(mails.clock.now)
        mails.clock.advance(4)

    assert max(sum(start <= at < start + 3600 for at in times) for start in times) == 12
    assert len(times) == 12 * 6


def test_a_mail_that_is_withheld_is_told_to_the_operator_alone(mails: Mails) -> None:
    mails.ask(times=3)

    assert mails.withheld == [("mail_pair", KEYRING.account(ADA), HOME)]


def test_unknown_addresses_count_like_known_ones(clock: HandClock) -> None:
    """Existence is never looked up: the budget sees the address as text and the network, and nothing else."""
    known, unknown = Mails(clock), Mails(clock)

    assert [known.ask() for _ in range(5)] == [unknown.ask("nobody@example.com") for _ in range(5)]


@pytest.fixture
def counted(clock: HandClock) -> Mails:
    """The mails of a service with a large budget, in a project that counts all callers as one."""
    return Mails(clock, BudgetLimits.with_mails(100_000), RateLimitBucket(refill_s=MAIL_REFILL_S, clock=clock))


def test_one_caller_does_not_use_up_everybodys_mails(counted: Mails) -> None:
    """Supabase allows 30 at once, then one every ten seconds. Some are kept for networks that logged in before."""
    counted.knows()

    assert sum(counted.ask(f"u{number}@example.com", address_of(number)) for number in range(100)) == 23
    assert counted.withheld[0] == ("mail_upstream", KEYRING.account("u23@example.com"), address_of(23))
    assert counted.ask() == 1
    counted.clock.advance(20)
    assert sum(counted.ask(f"v{number}@example.com", address_of(number)) for number in range(100)) == 1


def test_a_mail_that_is_not_asked_for_costs_no_budget(counted: Mails) -> None:
    for number in range(23):
        counted.ask(f"u{number}@example.com", address_of(number))
    assert counted.ask(times=50) == 0

    counted.clock.advance(600)

    assert counted.ask(times=10) == 2


@pytest.mark.parametrize(
    "error", [InvalidRequest({"email": ["wrong"]}), CaptchaRequired("wrong")], ids=["400", "captcha"]
)
@pytest.mark.parametrize("is_counted", [True, False], ids=["all callers are one", "each caller alone"])
def test_refused_requests_are_given_back_unless_supabase_counts_them_for_all(
    clock: HandClock, error: Exception, *, is_counted: bool
) -> None:
    copy = RateLimitBucket(burst=1000, clock=clock) if is_counted else RateLimitBucket.never()
    mails = Mails(clock, BudgetLimits.with_mails(100_000), copy)

    for _ in range(20):
        with contextlib.suppress(type(error)), mails.budget.attempt(ADA, HOME) as permit:
            if permit is MailPermit.ALLOWED:
                raise error

    assert mails.ask(times=10) == (0 if is_counted else 2)


def sign_up(mails: Mails, address: str, *errors: type[BaseException]) -> bool:
    """Sign up, and fail with each of *errors*; return whether it was let through."""
    try:
        with contextlib.suppress(*errors), mails.sign_ups.attempt(address):
            for error in errors:
                fail(error)
    except Throttled:
        return False
    return True


def test_thirty_sign_ups_for_a_network_and_hour(mails: Mails) -> None:
    assert sum(sign_up(mails, HOME) for _ in range(100)) == 30
    assert sign_up(mails, "198.51.100.1")
    mails.clock.advance(3600)
    assert sign_up(mails, HOME)


@pytest.mark.parametrize(("networks", "allowed"), [(1, 30), (100, 45), (1000, 60)])
def test_ipv6_sites_have_a_limit_of_sign_ups(mails: Mails, networks: int, allowed: int) -> None:
    assert sum(sign_up(mails, f"2001:db8:0:{number % networks:x}::1") for number in range(1000)) == allowed


@pytest.mark.parametrize("error", [UpstreamUnavailable, UpstreamThrottled, Busy], ids=lambda error: error.__name__)
def test_an_outage_gives_a_sign_up_back(mails: Mails, error: type[BaseException]) -> None:
    for _ in range(100):
        sign_up(mails, HOME, error)

    assert sign_up(mails, HOME)


def test_a_sign_up_that_says_who_exists_stays_counted(mails: Mails) -> None:
    for _ in range(30):
        with contextlib.suppress(InvalidRequest), mails.sign_ups.attempt(HOME):
            raise InvalidRequest({"email": ["taken"]})

    assert not sign_up(mails, HOME)


def test_a_mail_that_is_kept_for_known_pairs_is_marked_as_such(mails: Mails) -> None:
    mails.knows()
    assert mails.budget.take(ADA, HOME) is MailPermit.ALLOWED
    for number in range(4):
        assert mails.ask(address=f"198.51.{number}.1") == 1

    assert mails.budget.take(ADA, HOME) is MailPermit.KEPT


def test_to_look_whether_others_would_get_a_mail_costs_none(mails: Mails) -> None:
    mails.knows()
    mails.ask(times=2)

    assert sum(mails.ask(address=f"198.51.{number}.1") for number in range(6)) == 4
