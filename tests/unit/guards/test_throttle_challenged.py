"""What others used up is opened by a challenge; a caller's own budget and an account's are not."""

from __future__ import annotations

import json
import threading

import altcha
import pytest

from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import statuses
from tests.unit.guards.outcomes import fail
from velro_auth.errors import InvalidCredentials, UpstreamTimeout
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import HOUR_S, Limit, Limits
from velro_auth.guards.throttle import Challenged, Throttle, TooManyAttempts

ADA = "ada@example.com"
HOME = "192.0.2.1"

#: Everything that strangers share is used up by the first failure.
USED_UP = Limits(service=Limit(burst=1, refill_s=10**9))


class Gateway:
    """A throttle whose challenges are solved at once, and what it said."""

    def __init__(self, limits: Limits = USED_UP, *, is_challenging: bool = True) -> None:
        self.clock = HandClock()
        self.challenges = Challenges(secret=b"secret", work=(("0", 1),))
        self.refused_by: list[str] = []
        self.events: list[str] = []
        self.attempts = MemoryAttempts(limits=limits, clock=self.clock)
        self.throttle = self.make_throttle(is_challenging=is_challenging)

    def make_throttle(self, *, is_challenging: bool) -> Throttle:
        return Throttle(
            attempts=self.attempts,
            keyring=Keyring(b"secret"),
            challenges=self.challenges,
            is_challenging=is_challenging,
            on_refused=self.refused_by.append,
            on_challenge=self.events.append,
        )

    def guess(self, account: str, address: str, solution: str | None = None) -> None:
        """Try a wrong password."""
        with self.throttle.attempt(account, address, solution=solution):
            fail()

    def answer(self, account: str, address: str, solution: str | None = None) -> str:
        """Try a wrong password; return what became of it."""
        try:
            self.guess(account, address, solution)
        except InvalidCredentials:
            return "tried"
        except Challenged:
            return "challenged"
        except TooManyAttempts as error:
            return error.scope
        raise AssertionError

    def solution(self, account: str = ADA, address: str = HOME) -> str:
        """Solve a challenge for a login that only others hold back."""
        with pytest.raises(Challenged) as refused, self.throttle.attempt(account, address):
            pass
        challenge = altcha.Challenge.from_dict(json.loads(json.dumps(refused.value.challenge)))
        found = altcha.solve_challenge(challenge)
        assert found is not None
        return altcha.Payload(challenge, found).to_base64()

    def guess_with_work(self, account: str, address: str) -> str:
        """Try a wrong password with whatever work it takes; return what became of it."""
        answer = self.answer(account, address)
        return self.answer(account, address, self.solution(account, address)) if answer == "challenged" else answer


@pytest.fixture
def gateway() -> Gateway:
    gateway = Gateway()
    assert gateway.answer("somebody@example.com", "198.51.100.1") == "tried"
    return gateway


def test_a_first_login_gets_a_challenge_where_others_used_the_service_up(gateway: Gateway) -> None:
    with pytest.raises(Challenged) as refused, gateway.throttle.attempt(ADA, HOME):
        pass

    assert refused.value.scope == "service"
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0
    assert refused.value.allowance.remaining == USED_UP.pair.free
    assert gateway.events == ["given"]


def test_its_solution_lets_one_try_in(gateway: Gateway) -> None:
    with gateway.throttle.attempt(ADA, HOME, solution=gateway.solution()) as attempt:
        assert attempt.has_solved

    assert gateway.events == ["given", "solved"]
    with gateway.throttle.attempt(ADA, HOME) as attempt:
        assert (attempt.is_known, attempt.has_solved) == (True, False)


def test_a_solution_is_not_used_up_where_none_is_needed() -> None:
    gateway = Gateway()
    solution = "not even looked at"

    assert gateway.answer(ADA, HOME, solution) == "tried"
    assert gateway.events == []


def test_the_same_solution_opens_no_second_try(gateway: Gateway) -> None:
    solution = gateway.solution()

    assert [gateway.answer(ADA, HOME, solution) for _ in range(2)] == ["tried", "challenged"]


def test_solutions_give_no_more_guesses_per_account_and_pair(gateway: Gateway) -> None:
    """Neither from one network nor from many: the hard limits are judged as ever."""
    from_one = [gateway.guess_with_work(ADA, HOME) for _ in range(7)]
    from_many = [gateway.guess_with_work("b@example.com", f"10.0.{number}.1") for number in range(12)]

    assert from_one == ["tried"] * 5 + ["pair"] * 2
    assert from_many == ["tried"] * 10 + ["strangers"] * 2


def test_solutions_give_no_more_guesses_per_network(gateway: Gateway) -> None:
    answers = [gateway.guess_with_work(f"{number}@example.com", HOME) for number in range(60)]

    assert answers == ["tried"] * USED_UP.network.burst + ["network"] * (60 - USED_UP.network.burst)


def test_the_stop_of_a_week_is_not_opened(gateway: Gateway) -> None:
    for number in range(USED_UP.strangers.stop_at):
        while (answer := gateway.guess_with_work(ADA, f"10.0.{number}.1")) != "tried":
            assert answer == "strangers"
            gateway.clock.advance(HOUR_S)
    gateway.clock.advance(3 * HOUR_S)

    assert gateway.answer(ADA, HOME) == "strangers"


def test_wrong_solutions_count_for_their_network_and_for_nothing_else(gateway: Gateway) -> None:
    wrong = [gateway.answer(f"{number}@example.com", HOME, "no solution") for number in range(60)]
    burst = USED_UP.network.burst

    assert wrong == ["challenged"] * burst + ["network"] * (60 - burst)
    assert gateway.events.count("wrong") == burst
    assert gateway.guess_with_work("0@example.com", "203.0.113.1") == "tried"
    assert statuses(gateway.throttle._attempts, gateway.throttle.name("1@example.com")) == {}


def test_parallel_wrong_solutions_meet_the_limit_of_their_network(gateway: Gateway) -> None:
    answers: list[str] = []
    together = threading.Barrier(200)

    def send(number: int) -> None:
        together.wait(30)
        answers.append(gateway.answer(f"{number}@example.com", HOME, "no solution"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert answers.count("challenged") == USED_UP.network.burst
    assert answers.count("network") == 200 - USED_UP.network.burst


def test_five_hundred_parallel_solutions_meet_exactly_the_limit_of_the_account(gateway: Gateway) -> None:
    addresses = [f"10.{number // 250}.{number % 250}.1" for number in range(500)]
    solutions = {address: gateway.solution(ADA, address) for address in addresses}
    answers: list[str] = []
    together = threading.Barrier(500)

    def send(address: str) -> None:
        together.wait(30)
        answers.append(gateway.answer(ADA, address, solutions[address]))

    threads = [threading.Thread(target=send, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (answers.count("tried"), answers.count("strangers")) == (USED_UP.strangers.free, 490)


def test_an_outage_gives_the_try_of_a_solution_back(gateway: Gateway) -> None:
    for _ in range(20):
        with pytest.raises(UpstreamTimeout), gateway.throttle.attempt(ADA, HOME, solution=gateway.solution()):
            raise UpstreamTimeout

    assert gateway.guess_with_work(ADA, HOME) == "tried"


def test_only_wrong_passwords_that_a_solution_let_in_make_work_dearer(gateway: Gateway) -> None:
    with gateway.throttle.attempt(ADA, HOME, solution=gateway.solution()):
        pass
    assert gateway.challenges._guess_rate.per_second() == 0

    gateway.guess_with_work("b@example.com", HOME)

    assert gateway.challenges._guess_rate.per_second() > 0


def test_without_challenges_the_limit_makes_everybody_wait() -> None:
    gateway = Gateway(is_challenging=False)
    gateway.answer("somebody@example.com", "198.51.100.1")

    assert gateway.answer(ADA, HOME) == "service"
    gateway.throttle = gateway.make_throttle(is_challenging=True)
    assert gateway.answer(ADA, HOME) == "challenged"


def test_a_56_that_guesses_leaves_the_service_to_others() -> None:
    """Two tries a second for an hour from one /56; before, 331 of 360 right first passwords were refused."""
    gateway, let_in = Gateway(Limits()), 0
    for second in range(3600):
        gateway.clock.advance(1)
        for half in range(2):
            gateway.answer(f"{second}.{half}@example.com", f"2001:db8:0:{(2 * second + half) % 256:x}::1")
        if second % 10 == 0:
            with gateway.throttle.attempt(f"person{second}@example.com", f"10.{second // 200}.{second % 200}.1"):
                let_in += 1

    assert let_in == 360
    assert set(gateway.refused_by) == {"network56"}


def test_a_neighbour_in_the_48_is_let_in_for_work() -> None:
    gateway = Gateway(Limits())
    for number in range(2000):
        gateway.answer(f"{number}@example.com", f"2001:db8:0:{number % 1024:x}::1")
    neighbour = "2001:db8:0:ffff::1"

    assert gateway.answer(ADA, neighbour) == "challenged"
    assert gateway.refused_by[-1] == "network48"
    with gateway.throttle.attempt(ADA, neighbour, solution=gateway.solution(ADA, neighbour)) as attempt:
        assert attempt.has_solved


def test_half_of_the_service_is_kept_for_networks_that_did_not_fail() -> None:
    """Shared fairly: who failed today waits for the others of whom that is true."""
    gateway = Gateway(Limits())
    for number in range(150):
        assert gateway.answer(f"{number}@example.com", f"10.0.{number}.1") == "tried"

    assert gateway.answer("again@example.com", "10.0.7.1") == "challenged"
    assert gateway.answer(ADA, HOME) == "tried"


def test_an_attackers_own_login_does_not_make_its_network_one_that_did_not_fail() -> None:
    gateway = Gateway(Limits())
    for number in range(150):
        assert gateway.answer(f"{number}@example.com", f"10.0.{number}.1") == "tried"

    with gateway.throttle.attempt(
        "attacker@example.com", "10.0.7.1", solution=gateway.solution("attacker@example.com", "10.0.7.1")
    ):
        pass

    assert gateway.answer("again@example.com", "10.0.7.1") == "challenged"
