"""Alerts on the service level, and log lines for events that an operator should know of."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from velro_auth.context import RequestContext
from velro_auth.health_checks import Finding, Grade
from velro_auth.telemetry.shared import Table, Workers
from velro_auth.telemetry.slo import LEVELS, Level, Reading, Rule

logger = logging.getLogger("velro_auth.alerts")

#: An alert gets better only when the value is 10 % below the limit, so that a value near the limit does not flap.
HYSTERESIS: Final = 0.9

_LOG_LEVELS: Final[Mapping[Level, int]] = {
    "ok": logging.INFO,
    "warning": logging.WARNING,
    "critical": logging.ERROR,
}
_GRADES: Final[Mapping[Level, Grade]] = {"ok": "pass", "warning": "warn", "critical": "fail"}

#: The runbook; the name of an alert is the anchor of its section.
RUNBOOK: Final = "docs/how-to/runbook.md#"

#: Offsets in the numbers of an alert: level, last value, and since when (monotonic, 0 for never) the value has been
#: worse and better than the level.
_LEVEL, _VALUE, _WORSE_SINCE, _BETTER_SINCE, _WIDTH = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change of an alert's level.

    Attributes:
        level: The new level; ``ok`` is the all clear.
        was: The level before.
        text: One sentence for a person.
        reading: The service level that caused the change.
        at: Unix time in seconds.
    """

    alert: str
    level: Level
    was: Level
    text: str
    reading: Reading
    at: float

    def fields(self) -> dict[str, Any]:
        """Return all fields for JSON, with the section of the runbook."""
        fields = asdict(self)
        fields["reading"] = {name: round(value, 3) for name, value in fields["reading"].items()}
        return fields | {"runbook": RUNBOOK + self.alert}


def log(announcement: Announcement) -> None:
    """Write an announcement to the log."""
    logger.log(_LOG_LEVELS[announcement.level], announcement.text, extra={"alert": announcement.fields()})


class Alerts:
    """Evaluates the rules for the whole instance: the leading worker evaluates, all workers see the levels.

    A worse level is announced after ``raise_after_s``, a better one after ``clear_after_s``; too few logins count as
    better. When the leading worker dies, the next leader continues from its state.

    Args:
        rules: Returns the rules in force. Their limits may change at a settings reload, their names do not.
        min_samples: With fewer logins no alert is raised.
        outputs: Called with each change; must not block.
        raise_after_s: How long a worse level has to last.
        clear_after_s: How long a better level has to last.
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
        #: The last reading; None in a process that never led.
        self.last_reading: Reading | None = None
        # All alerts are in one row: only the leader writes.
        names = [rule.name for rule in rules()]
        row = Table(workers, _WIDTH * len(names)).rows[0]
        self._states = {name: row[number * _WIDTH : (number + 1) * _WIDTH] for number, name in enumerate(names)}

    def evaluate(self, read: Callable[[], Reading]) -> None:
        """Evaluate a new reading, if this process leads."""
        if not self._workers.leads():
            return
        self.last_reading = reading = read()
        for rule in self._rules():
            if change := self._evaluate(rule, reading):
                self._announce(change)

    def restore(self, alert: str, level: Level) -> None:
        """Continue with an alert at the level that an earlier process announced."""
        self._states[alert][_LEVEL] = LEVELS.index(level)

    def level(self, alert: str) -> Level:
        """Return the level of an alert."""
        return LEVELS[int(self._states[alert][_LEVEL])]

    def level_number(self, alert: str) -> float:
        """Return the level of an alert as a number: 0, 1 or 2."""
        return self._states[alert][_LEVEL]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all alerts."""
        return tuple(self._states)

    def check(self) -> Finding:
        """Return the readiness check of the service level."""
        worst = max(self._rules(), key=lambda rule: self.level_number(rule.name))
        level = self.level(worst.name)
        if level == "ok":
            return Finding("pass")
        return Finding(_GRADES[level], f"{level}: {worst.describe(self._states[worst.name][_VALUE], level)}")

    def _announce(self, change: Announcement) -> None:
        for output in self._outputs:
            try:
                output(change)
            except Exception:
                # The other outputs and the other rules must still run.
                logger.exception("an alert could not be announced", extra={"alert": change.fields()})

    def _evaluate(self, rule: Rule, reading: Reading) -> Announcement | None:
        state = self._states[rule.name]
        value = rule.value(reading) if rule.samples(reading) >= self._min_samples else 0.0
        state[_VALUE] = value
        was = int(state[_LEVEL])
        worse, better = LEVELS.index(rule.level(value)), LEVELS.index(rule.level(value / HYSTERESIS))
        if self._has_lasted(state, _WORSE_SINCE, self._raise_after_s, is_so=worse > was):
            return self._change(rule, worse, reading)
        if self._has_lasted(state, _BETTER_SINCE, self._clear_after_s, is_so=better < was):
            return self._change(rule, better, reading)
        return None

    def _has_lasted(self, state: memoryview[float], since: int, needed_s: float, *, is_so: bool) -> bool:
        now = self._clock()
        state[since] = (state[since] or now) if is_so else 0.0
        return is_so and now - state[since] >= needed_s

    def _change(self, rule: Rule, index: int, reading: Reading) -> Announcement:
        state = self._states[rule.name]
        was, level = LEVELS[int(state[_LEVEL])], LEVELS[index]
        state[_LEVEL], state[_WORSE_SINCE], state[_BETTER_SINCE] = index, 0.0, 0.0
        text = f"all clear: {rule.name}" if level == "ok" else f"{level}: {rule.describe(state[_VALUE], level)}"
        return Announcement(rule.name, level, was, text, reading, self._wall_clock())


#: Event → its log line. Each single one is answered correctly, but an operator should know of it.
EVENTS: Final[Mapping[str, str]] = {
    "upstream_misconfigured": "Supabase refuses our key, address or project setting: nobody can log in",
    "upstream_throttled": "Supabase's rate limit was reached: is the caller's address passed on?",
    "upstream_db_trigger": "Supabase failed inside: look for a trigger or hook that raises on auth.users",
    "token_too_large": "an access token was handed out that is too large for an Authorization header: it works nowhere",
    "headers_too_large": "a request was refused because of a header that is too large",
}


class EventLog:
    """Logs the first event of a kind at once, then once a minute how many more there were; for each process.

    Args:
        pause_s: For this long further events of a kind are only counted.
    """

    def __init__(self, *, pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._next: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}
        self._lock = threading.Lock()

    def record(self, event: str, context: RequestContext) -> None:
        """Log *event*, or count it for the next line."""
        with self._lock:
            now = self._clock()
            if now < self._next.get(event, now):
                self._suppressed[event] = self._suppressed.get(event, 0) + 1
                return
            self._next[event] = now + self._pause_s
            suppressed = self._suppressed.pop(event, 0)
        logger.error(
            EVENTS[event],
            extra={
                "event": event,
                "request_id": context.request_id,
                "reason": context.log_fields.get("reason"),
                "more_since_last": suppressed,
            },
        )
