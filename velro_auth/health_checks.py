"""Health checks: what readiness and the doctor report. Check names are stable; there are three grades."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Grade: TypeAlias = Literal["pass", "warn", "fail"]

_ORDER: Final[tuple[Grade, ...]] = ("pass", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. It never holds a secret.

    Attributes:
        status: The grade.
        output: One sentence on what was found; may be empty.
        fix: What to do about it, where this is known more exactly than from the check alone.
    """

    status: Grade
    output: str = ""
    fix: str = ""


Check: TypeAlias = Callable[[], Finding]


def worst(grades: Iterable[Grade]) -> Grade:
    """Return the worst of *grades*; ``pass`` when there are none."""
    return max(grades, key=_ORDER.index, default="pass")
