"""The attacks of ``benchmarks/fairness.py``, shorter: other people get in, and an account sees no more guesses."""

from __future__ import annotations

from benchmarks.fairness import one_56, one_account, spray


def test_first_logins_get_in_while_a_56_guesses() -> None:
    world = one_56(is_challenging=True, seconds=300)

    assert world.people.tried >= 30
    assert world.people.share >= 95


def test_first_logins_get_in_with_one_challenge_during_a_spray() -> None:
    world = spray(is_challenging=True, seconds=60)

    assert world.people.tried >= 6
    assert world.people.solved > 0
    assert world.people.share >= 95


def test_first_logins_get_in_while_guessers_pay() -> None:
    world = spray(is_challenging=True, is_paying=True, seconds=40, networks=100)

    assert sum(world.guesses.values()) > 300
    assert world.people.share >= 95


def test_without_challenges_a_spray_shuts_first_logins_out() -> None:
    """What the challenges are for; if this passes without them they can go."""
    assert spray(is_challenging=False, seconds=60).people.share < 50


def test_work_buys_no_guesses_at_one_account() -> None:
    with_work, without = (
        one_account(is_challenging=is_challenging, seconds=900, networks=200).guesses["victim@example.com"]
        for is_challenging in (True, False)
    )

    assert 0 < with_work <= 16
    assert without <= 16
