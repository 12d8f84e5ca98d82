"""``AUTH_GUARDS=report``: what exceeds a limit is counted and logged, and let through."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import InvalidCredentials, UpstreamTimeout
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.codes import CodeBudget, FactorBudget
from velro_auth.guards.enforcement import Enforcement
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.mails import MailBudget, SignUpLimit
from velro_auth.guards.throttle import Throttle

ADA = "ada@example.com"
HOME = "192.0.2.1"
FACTOR = "5f8d1e0a-7c7e-4f0e-9d0b-0d6f6f1c2a3b"


class Reporting:
    """All guards that only report."""

    def __init__(self, clock: HandClock) -> None:
        self.refused: Counter[str] = Counter()
        self.reported: Counter[str] = Counter()
        self.good: Counter[str] = Counter()
        enforcement = Enforcement(
            is_on=False,
            on_refused=lambda limit: self.refused.update([limit]),
            on_reported=lambda limit: self.reported.update([limit]),
            on_good=lambda limit: self.good.update([limit]),
        )
        keyring = Keyring(b"secret")
        attempts = MemoryAttempts(limits=Limits(), clock=clock)
        budgets = MemoryBudgets(limits=BudgetLimits(), clock=clock)
        self.throttle = Throttle(
            attempts=attempts,
            keyring=keyring,
            challenges=Challenges(secret=b"secret"),
            on_refused=lambda limit: self.refused.update([limit]),
            enforcement=enforcement,
        )
        self.codes = CodeBudget(budgets=budgets, keyring=keyring, enforcement=enforcement)
        self.factors = FactorBudget(budgets=budgets, keyring=keyring, attempts=attempts, enforcement=enforcement)
        self.mails = MailBudget(budgets=budgets, keyring=keyring, attempts=attempts, enforcement=enforcement)
        self.sign_ups = SignUpLimit(budgets=budgets, keyring=keyring, enforcement=enforcement)

    def wrong(self, address: str = HOME) -> None:
        with pytest.raises(InvalidCredentials), self.throttle.attempt(ADA, address):
            fail()

    def right(self, address: str = HOME) -> None:
        with self.throttle.attempt(ADA, address):
            pass


@pytest.fixture
def guards(clock: HandClock) -> Reporting:
    return Reporting(clock)


def test_wrong_passwords_are_reported_and_not_refused(guards: Reporting) -> None:
    for _ in range(20):
        guards.wrong()

    assert (guards.reported, guards.good, guards.refused) == ({"pair": 15}, {}, {})


def test_a_good_login_that_would_have_been_refused_is_counted(guards: Reporting) -> None:
    """Somebody who remembers the password at the sixth try."""
    for _ in range(5):
        guards.wrong()
    guards.right()

    assert (guards.reported, guards.good) == ({"pair": 1}, {"pair": 1})


def test_a_good_login_ends_the_streak_as_always(guards: Reporting) -> None:
    """So that the report does not count every login after it too."""
    for _ in range(5):
        guards.wrong()
    for _ in range(10):
        guards.right()

    assert guards.good == {"pair": 1}


def test_no_challenge_is_asked_for(guards: Reporting) -> None:
    for number in range(400):
        with (
            pytest.raises(InvalidCredentials),
            guards.throttle.attempt(f"u{number}@x", f"10.{number // 250}.{number % 250}.1"),
        ):
            fail()

    assert guards.reported["service"] > 0
    assert not guards.refused


def test_an_outage_is_no_good_login(guards: Reporting) -> None:
    for _ in range(5):
        guards.wrong()
    with pytest.raises(UpstreamTimeout), guards.throttle.attempt(ADA, HOME):
        fail(UpstreamTimeout)

    assert (guards.reported, guards.good) == ({"pair": 1}, {})


def test_codes_are_reported(guards: Reporting) -> None:
    for _ in range(12):
        with pytest.raises(InvalidCredentials), guards.codes.attempt(ADA):
            fail()
    with guards.codes.attempt(ADA):
        pass

    assert (guards.reported, guards.good) == ({"code": 3}, {"code": 1})


def test_factors_are_reported(guards: Reporting) -> None:
    for _ in range(7):
        with pytest.raises(InvalidCredentials), guards.factors.attempt(FACTOR, ADA, HOME):
            fail()
    with guards.factors.attempt(FACTOR, ADA, HOME):
        pass

    assert (guards.reported, guards.good) == ({"factor": 3}, {"factor": 1})


def test_mails_are_reported_and_sent(guards: Reporting) -> None:
    assert all(guards.mails.take(ADA, HOME) for _ in range(5))

    assert (guards.reported, guards.refused) == ({"mail_pair": 3}, {})


def test_sign_ups_are_reported(guards: Reporting) -> None:
    for _ in range(32):
        with guards.sign_ups.attempt(HOME):
            pass

    assert (guards.reported, guards.good) == ({"sign_up": 2}, {"sign_up": 2})


def test_the_log_names_the_limit_and_nobody(guards: Reporting, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "velro_auth.guards"):
        for _ in range(5):
            guards.wrong()
        guards.right()

    name = guards.throttle.name(ADA)
    assert [(record.message, record.__dict__["limit"], record.__dict__["account"]) for record in caplog.records] == [
        ("a guard would have refused this request", "pair", name),
        ("a guard would have refused a good request", "pair", name),
    ]
