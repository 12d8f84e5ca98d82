"""Incidents: from the first of several failures in a row to the next success."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from velro_auth.ops.monitor.observation import Observation

#: ``outage``: the target does not answer as it should. ``account``: it is well, and refuses the watched account.
#: ``alert``: a threshold is missed; see ``Levels``.
Kind: TypeAlias = Literal["outage", "account", "alert"]

#: How an incident came to its end. ``changed``: into one of another kind. ``unwatched``: nobody looked any more.
Ending: TypeAlias = Literal["", "recovery", "changed", "unwatched"]

#: A single failure is counted, and no incident. A refused password is: nobody's network refuses one by chance.
OPENS_AFTER: Final = {"outage": 2, "account": 1}

_MOST_OUTCOMES: Final = 20
_FAILURES: Final = {
    "timeout": "no answer in time",
    "connection": "no connection",
    "dns": "its name cannot be resolved",
    "tls": "no trusted TLS connection",
    "garbage": "what answers is not this service",
}


@dataclass(slots=True)
class Incident:
    """Something was wrong for a while.

    Attributes:
        target: Where.
        kind: In what way.
        what: One sentence or less.
        began_s: When it was seen first.
        level: Of an alert, the worst it reached; empty for others.
        ended_s: When it was seen to be over; None while it is not.
        ended_by: How it ended.
        outcomes: What was answered meanwhile, counted.
    """

    target: str
    kind: Kind
    what: str
    began_s: float
    level: str = ""
    ended_s: float | None = None
    ended_by: Ending = ""
    outcomes: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: str) -> None:
        """Count one more answer."""
        is_new = outcome not in self.outcomes and len(self.outcomes) >= _MOST_OUTCOMES
        self.outcomes["other" if is_new else outcome] += 1

    def end(self, at_s: float, by: Ending) -> None:
        """Note its end."""
        self.ended_s, self.ended_by = max(at_s, self.began_s), by

    def lasted_s(self, now_s: float) -> float:
        """Return how long it lasted, or has lasted until *now_s*."""
        return (now_s if self.ended_s is None else self.ended_s) - self.began_s

    def __str__(self) -> str:
        """Return what is the matter."""
        return f"{self.target}: {self.what}"


class Tracker:
    """Finds the incidents of one target."""

    def __init__(self) -> None:
        #: What goes on now.
        self.current: Incident | None = None
        self._suspect: Incident | None = None

    def see(self, seen: Observation) -> list[Incident]:
        """Take note of an observation; return the incidents that began or ended with it."""
        if seen.verdict == "success":
            return self.close(seen.at_s, "recovery")
        if seen.verdict != "failure":
            return []
        kind: Kind = "account" if seen.refuses_account else "outage"
        before = self.current or self._suspect
        changed = self.close(seen.at_s, "changed") if before is not None and before.kind != kind else []
        return [*changed, *self._count(seen, kind)]

    def close(self, at_s: float, by: Ending) -> list[Incident]:
        """End what goes on, if anything does, and return it."""
        ended, self.current, self._suspect = self.current, None, None
        if ended is None:
            return []
        ended.end(at_s, by)
        return [ended]

    def _count(self, seen: Observation, kind: Kind) -> list[Incident]:
        incident = self.current or self._suspect or Incident(seen.target, kind, _what(seen), seen.at_s)
        incident.count(seen.outcome)
        if self.current is None and incident.outcomes.total() >= OPENS_AFTER[kind]:
            self.current, self._suspect = incident, None
            return [incident]
        if self.current is None:
            self._suspect = incident
        return []


def _what(seen: Observation) -> str:
    if seen.refuses_account:
        return f"the watched account is refused ({seen.outcome}): is its password still right?"
    if seen.failure:
        return _FAILURES[seen.failure]
    note = f" ({seen.note})" if seen.note else ""
    return f"answered {seen.outcome}{note}"
