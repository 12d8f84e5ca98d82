"""Checks: what readiness and the doctor look at. Stable identifiers, three grades."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Grade: TypeAlias = Literal["pass", "warn", "fail"]

_ORDER: Final[tuple[Grade, ...]] = ("pass", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: a grade, and a sentence when there is something to say. Never a secret.

    Attributes:
        status: How good it is.
        output: What was found.
        fix: What to do about it, where that is known more exactly than from the check alone.
    """

    status: Grade
    output: str = ""
    fix: str = ""


Check: TypeAlias = Callable[[], Finding]


def worst(grades: Iterable[Grade]) -> Grade:
    """Return the worst of *grades*; ``pass`` when there are none."""
    return max(grades, key=_ORDER.index, default="pass")
