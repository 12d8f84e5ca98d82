"""Alerts: raised when a demand is missed for long enough, called off once when it is met again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from velro_auth.health_checks import Finding, Grade
from velro_auth.telemetry.shared import Table, Workers
from velro_auth.telemetry.slo import LEVELS, Level, Reading, Rule

logger = logging.getLogger("velro_auth.alerts")

#: An alert ends only when the value is a tenth below its limit: one that dances around it would ring all day.
CALM_SHARE: Final = 0.9

_LOG_LEVELS: Final[Mapping[Level, int]] = {
    "ok": logging.INFO,
    "warning": logging.WARNING,
    "critical": logging.ERROR,
}
_GRADES: Final[Mapping[Level, Grade]] = {"ok": "pass", "warning": "warn", "critical": "fail"}

#: Where the page says what to do, with the name of the alert behind.
RUNBOOK: Final = "docs/how-to/runbook.md#"

#: What the row of an alert holds: its level, the last value, and since when (monotonic, 0 for not at all) the
#: value has been worse, and better, than the level says.
_LEVEL, _VALUE, _WORSE_SINCE, _BETTER_SINCE, _WIDTH = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Announcement:
    """An alert changed its level.

    Attributes:
        alert: Which one.
        level: What it is now; ``ok`` is the all clear.
        was: What it was.
        text: One sentence for a person.
        reading: The service level that led to it.
        at: Time of day, in seconds since the epoch.
    """

    alert: str
    level: Level
    was: Level
    text: str
    reading: Reading
    at: float

    def fields(self) -> dict[str, Any]:
        """Return all of it as JSON has it, with the place where the runbook says what to do."""
        fields = asdict(self)
        fields["reading"] = {name: round(value, 3) for name, value in fields["reading"].items()}
        return fields | {"runbook": RUNBOOK + self.alert}


def log(announcement: Announcement) -> None:
    """Write an announcement to the log."""
    logger.log(_LOG_LEVELS[announcement.level], announcement.text, extra={"alert": announcement.fields()})


class Alerts:
    """Judges readings, for the whole instance: whoever leads the workers judges, all of them know the result.

    A worse level is announced after it lasted for ``raise_after_s``, a better one after ``clear_after_s``, which
    too few logins count towards. When the leading worker dies, the next goes on where it stopped.

    Args:
        workers: The processes of this instance.
        rules: Returns the rules in force. Their limits may change at a settings reload, their names do not.
        min_samples: Fewer logins than this raise nothing.
        outputs: Who is told of a change; must not block.
        raise_after_s: How long a worse level has to last.
        clear_after_s: How long a better level has to last.
        clock: Seconds that never go back, the same in all processes.
        wall_clock: The time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        workers: Workers,
        *,
        rules: Callable[[], Sequence[Rule]],
        min_samples: int,
        outputs: Sequence[Callable[[Announcement], None]] = (log,),
        raise_after_s: float = 10.0,
        clear_after_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._workers = workers
        self._rules = rules
        self._min_samples = min_samples
        self._outputs = tuple(outputs)
        self._raise_after_s, self._clear_after_s = raise_after_s, clear_after_s
        self._clock, self._wall_clock = clock, wall_clock
        #: What was judged last; None in a process that never led.
        self.last: Reading | None = None
        # One row for all: only the leader writes.
        names = [rule.name for rule in rules()]
        table = Table(workers, _WIDTH * len(names))
        self._states = {
            name: table.rows[0][number * _WIDTH : (number + 1) * _WIDTH] for number, name in enumerate(names)
        }

    def look(self, read: Callable[[], Reading]) -> None:
        """Judge a new reading, if this process leads."""
        if not self._workers.leads():
            return
        self.last = reading = read()
        for rule in self._rules():
            if change := self._judge(rule, reading):
                self._announce(change)

    def _announce(self, change: Announcement) -> None:
        for output in self._outputs:
            try:
                output(change)
            except Exception:
                # The others must hear of it, and the other rules be judged.
                logger.exception("an alert could not be announced", extra={"alert": change.fields()})

    def take_up(self, alert: str, level: Level) -> None:
        """Go on with an alert at the level that an earlier process announced."""
        self._states[alert][_LEVEL] = LEVELS.index(level)

    def level(self, alert: str) -> Level:
        """Return what an alert is at now."""
        return LEVELS[int(self._states[alert][_LEVEL])]

    def number(self, alert: str) -> float:
        """Return the same as a number: 0, 1 or 2."""
        return self._states[alert][_LEVEL]

    @property
    def names(self) -> tuple[str, ...]:
        """Every alert there is."""
        return tuple(self._states)

    def check(self) -> Finding:
        """Return what readiness says about the service level."""
        worst = max(self._rules(), key=lambda rule: self.number(rule.name))
        level = self.level(worst.name)
        if level == "ok":
            return Finding("pass")
        return Finding(_GRADES[level], f"{level}: {worst.describe(self._states[worst.name][_VALUE], level)}")

    def _judge(self, rule: Rule, reading: Reading) -> Announcement | None:
        state = self._states[rule.name]
        value = rule.value(reading) if rule.samples(reading) >= self._min_samples else 0.0
        state[_VALUE] = value
        was = int(state[_LEVEL])
        worse, better = LEVELS.index(rule.level(value)), LEVELS.index(rule.level(value / CALM_SHARE))
        if self._lasted(state, _WORSE_SINCE, self._raise_after_s, is_so=worse > was):
            return self._change(rule, worse, reading)
        if self._lasted(state, _BETTER_SINCE, self._clear_after_s, is_so=better < was):
            return self._change(rule, better, reading)
        return None

    def _lasted(self, state: memoryview[float], since: int, needed_s: float, *, is_so: bool) -> bool:
        now = self._clock()
        state[since] = (state[since] or now) if is_so else 0.0
        return is_so and now - state[since] >= needed_s

    def _change(self, rule: Rule, index: int, reading: Reading) -> Announcement:
        state = self._states[rule.name]
        was, level = LEVELS[int(state[_LEVEL])], LEVELS[index]
        state[_LEVEL], state[_WORSE_SINCE], state[_BETTER_SINCE] = index, 0.0, 0.0
        text = f"all clear: {rule.name}" if level == "ok" else f"{level}: {rule.describe(state[_VALUE], level)}"
        return Announcement(rule.name, level, was, text, reading, self._wall_clock())
