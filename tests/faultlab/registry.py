"""What a scenario is, and the list of all."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.faultlab.lab import Lab


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The guard that a scenario tests, and how to switch it off.

    Attributes:
        name: The guard, in plain words.
        settings: Settings that switch it off, or make it harmless.
        patch: A name of `guards_off.PATCHES`, where no setting does.
        by_hand: What the scenario itself does, where neither does.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    patch: str = ""
    by_hand: str = ""

    @property
    def how(self) -> str:
        """How it is switched off, for the table."""
        shown = ", ".join(f"`{name}={value}`" for name, value in self.settings.items())
        return shown or self.by_hand or f"patch `{self.patch}`"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One fault.

    Attributes:
        id: ``S1`` to ``S42``, or ``R1`` and so on for those of a fleet.
        fault: What is broken.
        notices: What a user notices.
        bound: What is claimed, with numbers.
        guard: What keeps the claim.
        run: Breaks it and checks the claim.
    """

    id: str
    fault: str
    notices: str
    bound: str
    guard: Guard
    run: Callable[[Lab], None]

    @property
    def is_of_the_fleet(self) -> bool:
        """Whether it needs several replicas and runs only when it is asked for."""
        return self.id.startswith("R")

    @property
    def order(self) -> tuple[str, int]:
        """``S2`` comes before ``S10``."""
        letter, number = re.fullmatch(r"([A-Z]+)(\d+)", self.id).groups()  # type: ignore[union-attr]
        return ("SR"[letter == "R"], int(number))


_SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(
    id: str,  # noqa: A002 - the word of the table
    fault: str,
    *,
    notices: str,
    bound: str,
    guard: Guard,
) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Register the decorated function as a scenario."""

    def register(run: Callable[[Lab], None]) -> Callable[[Lab], None]:
        assert id not in _SCENARIOS, id
        _SCENARIOS[id] = Scenario(id=id, fault=fault, notices=notices, bound=bound, guard=guard, run=run)
        return run

    return register


def scenarios() -> tuple[Scenario, ...]:
    """Return all scenarios, in the order of their numbers."""
    from tests.faultlab import scenarios as package  # noqa: PLC0415 - they import this module

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(sorted(_SCENARIOS.values(), key=lambda each: each.order))
