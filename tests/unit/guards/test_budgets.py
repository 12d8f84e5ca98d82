"""Budgets in the memory of one process."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.guards.budget_model import SMALL, machine
from tests.unit.guards.clock import HandClock
from velro_auth.guards.budgets import KINDS, BudgetLimits, Claim, MemoryBudgets, MemoryLogs, Spent, Taken, Window
from velro_auth.guards.limits import DAY_S, HOUR_S

PARALLEL = 500


def test_memory_agrees_with_the_model_whatever_happens() -> None:
    run_state_machine_as_test(
        machine(lambda clock: MemoryBudgets(limits=SMALL, clock=clock)),
        settings=settings(max_examples=150, stateful_step_count=50, deadline=None),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_of_five_hundred_parallel_tries_exactly_the_budget_gets_through(kind: str) -> None:
    budgets, together, given = MemoryBudgets(limits=BudgetLimits()), threading.Barrier(PARALLEL), []

    def take() -> None:
        together.wait(60)
        if isinstance(budgets.take([Claim(kind, "a")]), Taken):
            given.append(1)

    threads = [threading.Thread(target=take) for _ in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(given) == min(window.count for window in BudgetLimits().by_kind()[kind])


def test_no_window_holds_more_than_its_count_wherever_it_begins(clock: HandClock) -> None:
    """A bucket that refills would allow twenty tries within an hour."""
    budgets, times = MemoryBudgets(limits=BudgetLimits(), clock=clock), []
    for _ in range(2 * 24 * 60):
        if isinstance(budgets.take([Claim("code", "a")]), Taken):
            times.append(clock.now)
        clock.advance(60)

    for window_s, count in ((HOUR_S, 10), (DAY_S, 30)):
        assert max(sum(start <= at < start + window_s for at in times) for start in times) == count


def test_one_budget_that_is_used_up_leaves_the_others_as_they_were(clock: HandClock) -> None:
    budgets = MemoryBudgets(limits=SMALL, clock=clock)
    pair, account = Claim("mail_pair", "a:home"), Claim("mail_account", "a")
    budgets.take([pair, account])

    assert budgets.take([pair, account]) == Spent("mail_pair", 64.0)
    assert budgets.used(account) == [1]


def test_a_clock_that_is_set_back_makes_no_wait_longer_than_the_window(clock: HandClock) -> None:
    budgets = MemoryBudgets(limits=SMALL, clock=clock)
    budgets.take([Claim("mail_pair", "a")])

    clock.advance(-100_000)

    assert budgets.take([Claim("mail_pair", "a")]) == Spent("mail_pair", 64.0)
    clock.advance(64)
    assert isinstance(budgets.take([Claim("mail_pair", "a")]), Taken)


def test_new_settings_keep_the_counts(clock: HandClock) -> None:
    earlier = MemoryBudgets(limits=SMALL, clock=clock)
    earlier.take([Claim("mail_pair", "a")])

    later = MemoryBudgets(limits=SMALL, clock=clock, logs=earlier.logs)

    assert isinstance(later.take([Claim("mail_pair", "a")]), Spent)
    assert isinstance(
        MemoryBudgets(limits=SMALL.scaled(2), clock=clock, logs=earlier.logs).take([Claim("mail_pair", "a")]), Taken
    )


def test_a_flood_of_other_accounts_does_not_free_the_one_under_attack(clock: HandClock) -> None:
    budgets = MemoryBudgets(limits=BudgetLimits(), clock=clock, logs=MemoryLogs(100))
    while isinstance(budgets.take([Claim("code", "victim")]), Taken):
        pass

    for number in range(10_000):
        budgets.take([Claim("code", f"other{number}")])

    assert isinstance(budgets.take([Claim("code", "victim")]), Spent)
    assert len(budgets.logs.by_kind["code"]) == 100


def test_what_is_over_takes_no_memory(clock: HandClock) -> None:
    budgets = MemoryBudgets(limits=BudgetLimits(), clock=clock)
    taken = budgets.take([Claim("code", "a")])
    assert isinstance(taken, Taken)
    budgets.give_back(taken)
    budgets.take([Claim("factor", "a")])
    clock.advance(900)
    budgets.used(Claim("factor", "a"))

    assert not any(budgets.logs.by_kind.values())


def test_giving_back_twice_gives_back_once(clock: HandClock) -> None:
    budgets = MemoryBudgets(limits=SMALL, clock=clock)
    first = budgets.take([Claim("code", "a")])
    budgets.take([Claim("code", "a")])
    assert isinstance(first, Taken)

    budgets.give_back(first)
    budgets.give_back(first)

    assert budgets.used(Claim("code", "a")) == [1, 1]


@pytest.mark.parametrize("per_hour", [1, 2, 3, 4, 25, 100])
def test_shares_of_the_mails_add_up(per_hour: int) -> None:
    """Every class gets at least one, and the more acquainted ones get no less."""
    limits = BudgetLimits.with_mails(per_hour)
    strangers, acquainted, all_of_them = (
        windows[0].count
        for windows in (limits.mail_service_strangers, limits.mail_service_acquainted, limits.mail_service)
    )

    assert 1 <= strangers <= acquainted <= all_of_them == per_hour
    assert per_hour == 1 or strangers <= per_hour / 2
    assert BudgetLimits.with_mails(25) == BudgetLimits()


@pytest.mark.parametrize(("factor", "count"), [(1, 10), (0.5, 5), (0.34, 3), (0.01, 1), (1000, 10_000)])
def test_a_share_is_never_nothing(factor: float, count: int) -> None:
    assert Window(10, HOUR_S).scaled(factor) == Window(count, HOUR_S)
