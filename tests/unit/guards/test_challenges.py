"""Challenges: bound to one caller, good for two minutes and for one try, and cheap to refuse."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import altcha
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.guards.clock import HandClock
from velro_auth.guards.challenges import (
    FAILURES_PER_LEVEL,
    GOOD_FOR_S,
    GUESS_RATE_S,
    WORK,
    Challenges,
    GuessRate,
    MemorySpent,
    challenge_secret,
)
from velro_auth.guards.keys import Caller, Keyring

ADA = Keyring(b"secret").caller("ada@example.com", "192.0.2.1")

#: Long after today: the library looks at the clock on the wall as well.
FUTURE_S = 4_000_000_000.0


class CountedDerivation:
    """Derives keys and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, parameters: altcha.ChallengeParameters, salt: bytes, password: bytes) -> bytes:
        self.times += 1
        return altcha.derive_key_pbkdf2(parameters, salt, password)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(FUTURE_S)


@pytest.fixture
def costly() -> CountedDerivation:
    return CountedDerivation()


@pytest.fixture
def challenges(clock: HandClock, costly: CountedDerivation) -> Challenges:
    return Challenges(secret=b"secret", clock=clock, work=(("0", 1),), derive=costly)


def given_to(challenges: Challenges, caller: Caller = ADA) -> altcha.Challenge:
    return altcha.Challenge.from_dict(json.loads(json.dumps(challenges.issue(caller, failures=0))))


def solved(challenge: altcha.Challenge) -> str:
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    return altcha.Payload(challenge, solution).to_base64()


def test_a_solution_opens_one_try(challenges: Challenges) -> None:
    solution = solved(given_to(challenges))

    assert [challenges.check(ADA, solution) for _ in range(3)] == ["", "used before", "used before"]


@pytest.mark.parametrize(
    ("account", "address"), [("grace@example.com", "192.0.2.1"), ("ada@example.com", "198.51.100.1")]
)
def test_a_solution_is_of_use_to_nobody_else(
    challenges: Challenges, costly: CountedDerivation, account: str, address: str
) -> None:
    solution = solved(given_to(challenges))

    assert challenges.check(Keyring(b"secret").caller(account, address), solution) == "not for this caller"
    assert costly.times == 0
    assert challenges.check(ADA, solution) == ""


def test_another_address_of_the_same_network_may_send_it(challenges: Challenges) -> None:
    """Privacy addresses change within the /64."""
    keyring = Keyring(b"secret")
    solution = solved(given_to(challenges, keyring.caller("ada@example.com", "2001:db8::1")))

    assert challenges.check(keyring.caller("ADA@example.com", "2001:db8::2"), solution) == ""


def test_a_challenge_expires(challenges: Challenges, clock: HandClock, costly: CountedDerivation) -> None:
    first, second = solved(given_to(challenges)), solved(given_to(challenges))
    clock.advance(GOOD_FOR_S)
    assert challenges.check(ADA, first) == ""
    clock.advance(1)

    assert challenges.check(ADA, second) == "expired"
    assert costly.times == 1


@pytest.mark.parametrize(
    "change",
    [{"cost": 0}, {"keyPrefix": ""}, {"nonce": "00" * 16}, {"expiresAt": int(FUTURE_S) * 2}, {"algorithm": "SHA-256"}],
)
def test_a_challenge_cannot_be_changed(
    challenges: Challenges, costly: CountedDerivation, change: dict[str, Any]
) -> None:
    easier = given_to(challenges).to_dict()
    easier["parameters"] |= change

    forged = solved(altcha.Challenge.from_dict(easier)) if change.get("cost") != 0 else _unsolved(easier)

    assert challenges.check(ADA, forged) == "not for this caller"
    assert costly.times == 0


def _unsolved(challenge: dict[str, Any], **solution: Any) -> str:
    payload = {"challenge": challenge, "solution": {"counter": 0, "derivedKey": "00" * 32, **solution}}
    return base64.b64encode(json.dumps(payload).encode()).decode()


def test_a_wrong_solution_uses_the_challenge_up(challenges: Challenges, costly: CountedDerivation) -> None:
    """Or one challenge would buy any number of the costly checks."""
    challenge = given_to(challenges)
    wrong = _unsolved(challenge.to_dict())

    assert [challenges.check(ADA, one) for one in (wrong, wrong, solved(challenge))] == [
        "wrong",
        "used before",
        "used before",
    ]
    assert costly.times == 1


def test_one_of_a_hundred_parallel_uses_passes(challenges: Challenges) -> None:
    solution, together = solved(given_to(challenges)), threading.Barrier(100)
    found: list[str] = []

    def use() -> None:
        together.wait(30)
        found.append(challenges.check(ADA, solution))

    threads = [threading.Thread(target=use) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (found.count(""), found.count("used before")) == (1, 99)


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_judged(text: str) -> None:
    assert Challenges(secret=b"secret").check(ADA, text) == "unreadable"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    parameters=st.fixed_dictionaries(dict.fromkeys(("algorithm", "nonce", "salt", "cost", "expiresAt"), JSON)),
    signature=JSON,
    solution=st.fixed_dictionaries(dict.fromkeys(("counter", "derivedKey"), JSON)),
)
def test_any_payload_is_judged(parameters: object, signature: object, solution: object) -> None:
    payload = {"challenge": {"parameters": parameters, "signature": signature}, "solution": solution}

    assert Challenges(secret=b"secret").check(ADA, base64.b64encode(json.dumps(payload).encode()).decode())


@given(JSON)
def test_any_solution_of_a_good_challenge_is_judged(counter: object) -> None:
    challenges = Challenges(secret=b"secret", clock=HandClock(FUTURE_S), work=(("ffffffff", 1),))
    challenge = given_to(challenges).to_dict()

    assert challenges.check(ADA, _unsolved(challenge, counter=counter)) == "wrong"


def test_processes_that_count_alike_accept_each_others_challenges(clock: HandClock) -> None:
    one, other, foreign = (
        Challenges(secret=challenge_secret(secret), clock=clock, work=(("0", 1),))
        for secret in (b"shared", b"shared", b"of another service")
    )
    solution = solved(given_to(one))

    assert foreign.check(ADA, solution) == "not for this caller"
    assert other.check(ADA, solution) == ""


def test_a_challenge_names_nobody(challenges: Challenges) -> None:
    payload = json.dumps(challenges.issue(ADA, failures=0))

    assert [word for word in (ADA.account, ADA.network, "ada", "192.0.2") if word in payload] == []


def test_each_level_is_twice_the_work_and_none_is_dear_to_check() -> None:
    work = [int(16 ** len(prefix)) * iterations for prefix, iterations in WORK]

    assert work == [work[0] * 2**level for level in range(len(WORK))]
    assert max(iterations for _, iterations in WORK) <= 4000


def test_a_network_that_fails_again_and_again_works_more() -> None:
    challenges = Challenges(secret=b"secret")

    levels = [challenges.level(failures) for failures in range(0, 6 * FAILURES_PER_LEVEL, FAILURES_PER_LEVEL)]

    assert levels == [0, 1, 2, 3, 4, 4]


def test_all_work_more_while_guessers_pay_and_less_when_they_stop() -> None:
    clock = HandClock()
    challenges = Challenges(secret=b"secret", guess_rate=GuessRate(clock=clock))
    for _ in range(int(8 * GUESS_RATE_S)):
        challenges.password_refused()
    levels = []
    for _ in range(3):
        levels.append(challenges.level(0))
        clock.advance(2 * GUESS_RATE_S)

    assert levels == [3, 1, 0]


def test_what_is_remembered_is_bounded() -> None:
    clock = HandClock()
    spent = MemorySpent(clock=clock, max_spent=100)
    used = [spent.spend(str(number), clock.now + 10) for number in range(1000)]
    assert (all(used), len(spent._spent), spent.spend("999", clock.now + 10)) == (True, 100, False)
    clock.advance(11)

    assert spent.spend("another", clock.now + 10)
    assert len(spent._spent) == 1
