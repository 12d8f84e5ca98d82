"""Grades and verdicts of ``bench`` and ``monitor``, and the exit status that follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click


class NotMeasured(click.ClickException):
    """Nothing could be measured or reported; the message says why. Its exit status is none of the grades."""

    exit_code = 3


class Grade(IntEnum):
    """How good a result is. The value is the exit status of the command."""

    GOOD = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade and the reasons for it."""

    grade: Grade
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the files contain it."""
        return {"grade": self.grade.name.lower(), "reasons": list(self.reasons)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst grade with all reasons."""
    found = list(verdicts)
    grade = max((verdict.grade for verdict in found), default=Grade.GOOD)
    return Verdict(grade, tuple(reason for verdict in found for reason in verdict.reasons))
