"""Guessing of mailed links: a hash can be computed from the address and each of a million codes."""

from __future__ import annotations

import json
from collections import Counter

import altcha
import pytest

from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import InvalidCredentials, UpstreamTimeout
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.challenges import Challenges
from velro_auth.guards.codes import BudgetSpent
from velro_auth.guards.enforcement import Enforcement
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import HOUR_S, Limits
from velro_auth.guards.links import LinkBudget, LinkChallenged

LINK = "pkce_" + "a" * 56
HOME = "192.0.2.1"


class Links:
    """The budget, with challenges that are solved at once, and what it said."""

    def __init__(self, *, is_challenging: bool = True, is_on: bool = True) -> None:
        self.clock = HandClock()
        self.keyring = Keyring(b"secret")
        self.attempts = MemoryAttempts(limits=Limits(), clock=self.clock)
        self.refused_by: list[str] = []
        self.events: list[str] = []
        self.budget = LinkBudget(
            budgets=MemoryBudgets(limits=BudgetLimits(), clock=self.clock),
            keyring=self.keyring,
            attempts=self.attempts,
            challenges=Challenges(secret=b"secret", work=(("0", 1),)),
            is_challenging=is_challenging,
            on_challenge=self.events.append,
            enforcement=Enforcement(is_on=is_on, on_refused=self.refused_by.append),
        )

    def guess(self, address: str, link: str = LINK, solution: str | None = None) -> str:
        """Try a wrong link; return what became of it."""
        try:
            with self.budget.attempt(link, address, solution=solution):
                fail()
        except InvalidCredentials:
            return "tried"
        except LinkChallenged as error:
            return f"challenged: {error.kind}"
        except BudgetSpent as error:
            return error.kind
        raise AssertionError

    def solution(self, address: str, link: str = LINK) -> str:
        """Solve a challenge."""
        with pytest.raises(LinkChallenged) as refused, self.budget.attempt(link, address):
            pass
        challenge = altcha.Challenge.from_dict(json.loads(json.dumps(refused.value.challenge)))
        found = altcha.solve_challenge(challenge)
        assert found is not None
        return altcha.Payload(challenge, found).to_base64()

    def use_up(self) -> None:
        """Use up the budget of the service, from other networks."""
        for number in range(30):
            assert [self.guess(f"198.51.{number}.1") for _ in range(10)] == ["tried"] * 10


@pytest.fixture
def links() -> Links:
    return Links()


def test_one_network_has_ten_wrong_links_an_hour(links: Links) -> None:
    answers = Counter(links.guess(f"192.0.2.{number % 250}", link=f"link{number}") for number in range(1000))

    assert answers == {"tried": 10, "link_network": 990}
    links.clock.advance(HOUR_S - 1)
    assert links.guess(HOME) == "link_network"
    links.clock.advance(1)
    assert links.guess(HOME) == "tried"


@pytest.mark.parametrize(
    ("address", "kind", "count"),
    [("2001:db8:0:{:x}::1", "link_network56", 15), ("2001:db8:0:{:x}00::1", "link_network48", 20)],
)
def test_a_wide_network_has_no_budget_for_each_of_its_parts(address: str, kind: str, count: int, links: Links) -> None:
    answers = Counter(links.guess(address.format(number)) for number in range(100))

    assert answers == {"tried": count, f"challenged: {kind}": 100 - count}


def test_all_strangers_together_have_three_hundred_an_hour(links: Links) -> None:
    answers = Counter(links.guess(f"10.{number >> 8}.{number & 255}.1") for number in range(1000))

    assert answers == {"tried": 300, "challenged: link_service": 700}


def test_a_network_that_logged_in_before_does_not_share_that(links: Links) -> None:
    links.attempts.remember(links.keyring.caller("ada@example.com", HOME))
    links.use_up()

    assert links.guess("203.0.113.1") == "challenged: link_service"
    assert [links.guess(HOME) for _ in range(11)] == ["tried"] * 10 + ["link_network"]


def test_a_good_link_and_an_outage_are_given_back(links: Links) -> None:
    for _ in range(20):
        with links.budget.attempt(LINK, HOME):
            pass
        with pytest.raises(UpstreamTimeout), links.budget.attempt(LINK, HOME):
            raise UpstreamTimeout("…")

    assert links.guess(HOME) == "tried"


def test_the_try_is_counted_before_it_is_made(links: Links) -> None:
    """A burst of parallel guesses must not pass the limit."""
    for _ in range(9):
        links.guess(HOME)
    with links.budget.attempt(LINK, HOME):
        assert links.guess(HOME) == "link_network"
    assert links.guess(HOME) == "tried"


def test_a_challenge_opens_what_others_used_up_for_one_try(links: Links) -> None:
    links.use_up()
    solution = links.solution(HOME)

    with links.budget.attempt(LINK, HOME, solution=solution):
        pass

    assert links.guess(HOME, solution=solution) == "challenged: link_service"
    assert links.events == ["given", "solved", "wrong", "given"]
    assert set(links.refused_by) == {"link_service"}


@pytest.mark.parametrize(("address", "link"), [("203.0.113.1", LINK), (HOME, "another")])
def test_a_solution_is_good_for_its_link_and_network_alone(address: str, link: str, links: Links) -> None:
    links.use_up()

    assert links.guess(address, link, links.solution(HOME)) == "challenged: link_service"


def test_with_challenges_a_network_has_no_more_tries(links: Links) -> None:
    links.use_up()

    answers = [links.guess(HOME, solution=links.solution(HOME)) for _ in range(10)]

    assert answers == ["tried"] * 10
    assert links.guess(HOME, solution="nonsense") == "link_network"


def test_wrong_solutions_are_counted_too(links: Links) -> None:
    links.use_up()

    answers = [links.guess(HOME, solution="nonsense") for _ in range(11)]

    assert answers == ["challenged: link_service"] * 10 + ["link_network"]


def test_asking_for_a_challenge_counts_nothing(links: Links) -> None:
    links.use_up()

    assert {links.guess(HOME) for _ in range(50)} == {"challenged: link_service"}


def test_wrong_links_after_challenges_raise_the_work_for_all(links: Links) -> None:
    links.use_up()
    challenges = links.budget.challenges
    before = challenges._guess_rate.per_second()

    links.guess(HOME, solution=links.solution(HOME))

    assert challenges._guess_rate.per_second() > before


def test_challenges_can_be_switched_off() -> None:
    links = Links(is_challenging=False)
    links.use_up()

    assert links.guess(HOME) == "link_service"
    assert links.events == []


def test_a_budget_that_only_reports_refuses_nothing() -> None:
    links = Links(is_on=False)

    assert {links.guess(HOME) for _ in range(50)} == {"tried"}
