"""What comes before a case's request: one function per case, in one table per flow."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from tests.contract import surface
from tests.contract.surface.cases import Case
from tests.contract.surface.world import World

Step: TypeAlias = Callable[[World], object]


def _tables() -> dict[str, Step]:
    """Return the entries of all tables: every module of this package called ``steps_…`` has one, ``STEPS``."""
    found: dict[str, Step] = {}
    for module in pkgutil.iter_modules(surface.__path__):
        if module.name.startswith("steps_"):
            found |= importlib.import_module(f"{surface.__name__}.{module.name}").STEPS
    return found


STEPS: Final[Mapping[str, Step]] = _tables()


def prepare(world: World, case: Case) -> None:
    """Do what comes before *case*; without an entry, a session where the request carries a token of one."""
    step = STEPS.get(case.id)
    if step is not None:
        step(world)
    elif "<access_token>" in str(case.headers) or "<refresh_token>" in str(case.body):
        world.session()
