"""Guessing of mailed codes and of second factors."""

from __future__ import annotations

import pytest

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import (
    AuthError,
    CircuitOpen,
    InvalidCredentials,
    InvalidRequest,
    Throttled,
    UpstreamThrottled,
    UpstreamTimeout,
)
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.codes import CodeBudget, FactorBudget
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits

ADA = "ada@example.com"
HOME = "192.0.2.1"
FACTOR = "5f8d1e0a-7c7e-4f0e-9d0b-0d6f6f1c2a3b"


class Codes:
    """Both budgets over one set of counters."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        budgets = MemoryBudgets(limits=BudgetLimits(), clock=clock)
        self.attempts = MemoryAttempts(limits=Limits(), clock=clock)
        self.codes = CodeBudget(budgets=budgets, keyring=Keyring(b"secret"))
        self.factors = FactorBudget(budgets=budgets, keyring=Keyring(b"secret"), attempts=self.attempts)

    def wrong(self, account: str = ADA, error: type[BaseException] = InvalidCredentials) -> float:
        """Try a wrong code; return how long to wait, 0 where it was let through."""
        try:
            with self.codes.attempt(account):
                fail(error)
        except Throttled as throttled:
            return throttled.retry_after_s or 0.0
        except error:
            return 0.0

    def wrong_factor(self, *, factor: str = FACTOR, account: str = ADA, address: str = HOME) -> bool:
        """Try a wrong code of a factor; return whether it was let through."""
        try:
            with self.factors.attempt(factor, account, address):
                fail()
        except Throttled:
            return False
        except InvalidCredentials:
            return True

    def pass_factor(self, address: str = HOME) -> None:
        with self.factors.attempt(FACTOR, ADA, address):
            pass


@pytest.fixture
def codes(clock: HandClock) -> Codes:
    return Codes(clock)


def test_ten_wrong_codes_an_hour_and_thirty_a_day(codes: Codes) -> None:
    tried = 0
    for _ in range(24 * 6):
        tried += sum(codes.wrong() == 0 for _ in range(5))
        assert tried <= 30
        codes.clock.advance(600)

    assert tried == 30
    assert codes.wrong() == 0


def test_the_wait_is_exact(codes: Codes) -> None:
    waits = [codes.wrong() for _ in range(11)]
    assert waits == [0.0] * 10 + [3600.0]

    codes.clock.advance(3599)
    assert codes.wrong() == pytest.approx(1)
    codes.clock.advance(1)
    assert codes.wrong() == 0


def test_a_right_code_is_given_back(codes: Codes) -> None:
    for _ in range(100):
        with codes.codes.attempt(ADA):
            pass

    assert codes.wrong() == 0


def test_a_right_code_does_not_forgive_wrong_ones(codes: Codes) -> None:
    """Otherwise a code of the guesser's own making would open the budget again."""
    for _ in range(9):
        codes.wrong()
    with codes.codes.attempt(ADA):
        pass

    assert [codes.wrong() for _ in range(2)] == [0.0, 3600.0]


@pytest.mark.parametrize(
    "error", [UpstreamTimeout, UpstreamThrottled, CircuitOpen, KeyboardInterrupt, ValueError], ids=lambda e: e.__name__
)
def test_an_outage_locks_nobody_out(codes: Codes, error: type[BaseException]) -> None:
    for _ in range(50):
        codes.wrong(error=error)

    assert codes.wrong() == 0


def test_a_request_that_supabase_does_not_understand_is_no_guess(codes: Codes) -> None:
    for _ in range(50):
        with pytest.raises(InvalidRequest), codes.codes.attempt(ADA):
            raise InvalidRequest({"token": ["wrong"]})

    assert codes.wrong() == 0


@pytest.mark.parametrize("spelling", [" ADA@example.com", "ada@example.com ", "Ada@Example.Com"])
def test_all_spellings_share_the_budget(codes: Codes, spelling: str) -> None:
    while codes.wrong() == 0:
        pass

    assert codes.wrong(spelling) > 0


def test_all_spellings_of_a_phone_number_share_the_budget(codes: Codes) -> None:
    while codes.wrong("+49 170 1234567") == 0:
        pass

    for spelling in ("491701234567", "+491701234567", " +49 (170) 123-4567", "++491701234567"):
        assert codes.wrong(spelling) > 0
    assert codes.wrong("+49 170 1234568") == 0


def test_five_wrong_codes_of_a_factor_in_a_quarter_of_an_hour(codes: Codes) -> None:
    addresses = [f"10.0.{number}.1" for number in range(100)]

    assert sum(codes.wrong_factor(address=address) for address in addresses) == 5
    codes.clock.advance(900)
    assert sum(codes.wrong_factor(address=address) for address in addresses) == 5


def test_the_owner_has_two_codes_left_while_somebody_else_guesses(codes: Codes) -> None:
    codes.pass_factor()
    while codes.wrong_factor(address="10.0.0.1"):
        pass

    assert [codes.wrong_factor() for _ in range(3)] == [True, True, False]


def test_the_owner_gets_in_while_somebody_else_guesses(codes: Codes) -> None:
    codes.pass_factor()
    while codes.wrong_factor(address="10.0.0.1"):
        pass

    codes.wrong_factor()
    codes.pass_factor()


def test_logins_with_the_password_give_no_further_codes(codes: Codes) -> None:
    """Whoever guesses a factor knows the password, and could log in from any number of networks."""
    keyring, tried = Keyring(b"secret"), 0
    for number in range(100):
        address = f"10.0.{number}.1"
        codes.attempts.remember(keyring.caller(ADA, address))
        tried += sum(codes.wrong_factor(address=address) for _ in range(10))

    assert tried == 5


@pytest.mark.parametrize(
    "spelling", [FACTOR.upper(), FACTOR.replace("-", ""), f"{{{FACTOR}}}", f"urn:uuid:{FACTOR}", f" {FACTOR}"]
)
def test_all_spellings_of_a_factor_share_the_budget(codes: Codes, spelling: str) -> None:
    while codes.wrong_factor():
        pass

    assert not codes.wrong_factor(factor=spelling)


def test_texts_that_are_no_factor_share_one_budget(codes: Codes) -> None:
    assert sum(codes.wrong_factor(factor=f"factor{number}") for number in range(50)) == 5


def test_nobody_uses_up_the_budget_of_another_ones_factor(codes: Codes) -> None:
    while codes.wrong_factor(account="eve@example.com"):
        pass

    assert codes.wrong_factor()


def test_a_refusal_is_no_authentication_error(codes: Codes) -> None:
    """It must stay a 429, and must not be counted as a wrong code by a guard around it."""
    while codes.wrong() == 0:
        pass

    with pytest.raises(Throttled) as caught, codes.codes.attempt(ADA):
        pass
    assert not isinstance(caught.value, AuthError)
    assert "ada" not in caught.value.reason


def test_a_factor_s_time_out_stays_counted(codes: Codes) -> None:
    """A right code may have been accepted, which the next refresh would show."""
    for _ in range(5):
        with pytest.raises(UpstreamTimeout), codes.factors.attempt(FACTOR, ADA, HOME):
            raise UpstreamTimeout

    assert not codes.wrong_factor()
