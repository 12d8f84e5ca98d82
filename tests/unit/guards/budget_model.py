"""A simple model of the budgets, and a state machine that compares counts with it.

The model keeps everything that was ever taken and reads it from the start for every question.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, multiple, rule

from tests.unit.guards.clock import HandClock
from velro_auth.guards.budgets import BudgetLimits, Budgets, Claim, Spent, Taken, Window

#: Small and whole, so that a few steps use a budget up and no float is ever rounded.
SMALL = BudgetLimits(
    code=(Window(3, 64), Window(5, 256)),
    factor=(Window(2, 32),),
    mail_pair=(Window(1, 64),),
    mail_account=(Window(3, 64),),
    mail_service=(Window(6, 128),),
)

CLAIMS = (
    (Claim("code", "a"),),
    (Claim("code", "b"),),
    (Claim("factor", "a"),),
    (Claim("mail_pair", "a:home"), Claim("mail_account", "a"), Claim("mail_service")),
    (Claim("mail_pair", "a:work"), Claim("mail_account", "a"), Claim("mail_service")),
    (Claim("mail_pair", "b:work"), Claim("mail_account", "b"), Claim("mail_service")),
)

MakeBudgets: TypeAlias = Callable[[HandClock], Budgets]


@dataclasses.dataclass(eq=False)
class Unit:
    """One unit of several budgets, as the model remembers it."""

    at: float
    claims: Sequence[Claim]


class Model:
    """The expected behaviour."""

    def __init__(self, limits: BudgetLimits = SMALL) -> None:
        self._windows = limits.by_kind()
        self.units: list[Unit] = []

    def waits(self, now: float, claims: Sequence[Claim]) -> dict[str, float]:
        """Return kind → wait: when the oldest of the units that fill the window leaves it."""
        return {
            claim.kind: max(self._wait(now, claim, window) for window in self._windows[claim.kind]) for claim in claims
        }

    def _wait(self, now: float, claim: Claim, window: Window) -> float:
        inside = sorted(unit.at for unit in self.units if claim in unit.claims and unit.at + window.window_s > now)
        return inside[-window.count] + window.window_s - now if len(inside) >= window.count else 0.0


class BudgetMachine(RuleBasedStateMachine):
    """Any order of claims, returns and pauses."""

    taken: Bundle[tuple[Taken, Unit]] = Bundle("taken")

    make: ClassVar[MakeBudgets]

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.budgets = type(self).make(self.clock)
        self.model = Model()
        self.last_wait = 0.0

    @rule(quarters=st.one_of(st.integers(0, 40), st.integers(0, 4 * 300)))
    def time_passes(self, quarters: int) -> None:
        self.clock.advance(quarters / 4)

    @rule()
    def the_wait_is_over(self) -> None:
        self.clock.advance(self.last_wait)
        self.last_wait = 0.0

    @rule()
    def the_wait_is_almost_over(self) -> None:
        self.clock.advance(max(0.0, self.last_wait - 0.25))
        self.last_wait = min(0.25, self.last_wait)

    @rule(target=taken, claims=st.sampled_from(CLAIMS))
    def somebody_takes(self, claims: Sequence[Claim]) -> MultipleResults[tuple[Taken, Unit]] | tuple[Taken, Unit]:
        waits = self.model.waits(self.clock.now, claims)
        answer = self.budgets.take(claims)
        if isinstance(answer, Spent):
            assert answer.wait_s == max(waits.values()) == waits[answer.kind] > 0
            self.last_wait = answer.wait_s
            return multiple()
        assert max(waits.values()) == 0
        unit = Unit(self.clock.now, claims)
        self.model.units.append(unit)
        return answer, unit

    @rule(pair=consumes(taken))
    def it_is_given_back(self, pair: tuple[Taken, Unit]) -> None:
        answer, unit = pair
        self.budgets.give_back(answer)
        self.model.units.remove(unit)


def machine(make: MakeBudgets) -> type[BudgetMachine]:
    """Return the machine for one kind of counts."""
    return type("BudgetMachine", (BudgetMachine,), {"make": staticmethod(make)})
