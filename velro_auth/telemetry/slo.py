"""Service level objectives: the target for logins, and how the last minutes compare with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from velro_auth.telemetry.shared import Count, Window

Level: TypeAlias = Literal["ok", "warning", "critical"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "critical")

#: Burn rates of Google's SRE Workbook, chapter 5: at 14.4, one hour uses 2 % of a month's error budget.
#: The short window has to agree, so that an alert ends soon after the trouble does.
BURN_WARNING: Final = 6.0
BURN_CRITICAL: Final = 14.4

#: This many times the error budget is critical at once; the burn rate of the hour would rise too slowly.
CRITICAL_BUDGETS: Final = 5.0

#: One failure in a quiet hour is no alert, however large its share of the few logins is.
MIN_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class SloTarget:
    """The service level objective for logins.

    Attributes:
        p95_warning_ms: A 95th percentile from here on is a warning.
        p95_critical_ms: A 95th percentile from here on is critical.
        success_rate_min: Successful logins, in percent.
        min_samples: With fewer logins no alert is raised.
    """

    p95_warning_ms: float = 500.0
    p95_critical_ms: float = 1000.0
    success_rate_min: float = 99.0
    min_samples: int = 20

    @property
    def error_budget(self) -> float:
        """Share of logins that may fail, 0 to 1; never 0, so that a burn rate exists."""
        return max(1e-6, 1 - self.success_rate_min / 100)


@dataclass(frozen=True, slots=True)
class Reading:
    """The service level at one moment.

    Attributes:
        logins: Counted logins in the rolling window, *failures* included.
        timed: How many of them called Supabase; the percentiles are theirs.
        success_rate: In percent; 100 without any login.
        own_p95_ms: The 95th percentile of our own share.
        burn_recent: Failures of the rolling window divided by the error budget.
        burn_hour: The same for the last hour, with *hour_logins*; the smaller of the two counts.
    """

    logins: int
    failures: int
    timed: int
    success_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    own_p95_ms: float
    burn_recent: float
    burn_hour: float
    hour_logins: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit for a reading, where a greater value is worse.

    Attributes:
        name: The name of the alert; it never changes.
        value: Takes the value from a reading.
        samples: Takes from a reading how many logins the value rests on.
        warning: From this value on the level is ``warning``.
        critical: From this value on it is ``critical``.
        text: One sentence; ``{value}`` and ``{limit}`` stand for the numbers.
    """

    name: str
    value: Callable[[Reading], float]
    samples: Callable[[Reading], int]
    warning: float
    critical: float
    text: str

    def level(self, value: float) -> Level:
        """Return the level of *value*."""
        return LEVELS[(value >= self.warning) + (value >= self.critical)]

    def describe(self, value: float, level: Level) -> str:
        """Describe in one sentence what is wrong."""
        limit = self.critical if level == "critical" else self.warning
        return self.text.format(value=f"{value:.4g}", limit=f"{limit:.4g}")


def read(window: Window, target: SloTarget) -> Reading:
    """Read the service level of this moment."""
    recent, hour = window.recent(), window.hour()
    return Reading(
        logins=recent.count.logins,
        failures=recent.count.failures,
        timed=recent.total.total,
        success_rate=100 * (1 - recent.count.failure_ratio),
        p50_ms=recent.total.percentile_ms(0.50),
        p95_ms=recent.total.percentile_ms(0.95),
        p99_ms=recent.total.percentile_ms(0.99),
        own_p95_ms=recent.own.percentile_ms(0.95),
        burn_recent=_burn_rate(recent.count, target),
        burn_hour=_burn_rate(hour, target),
        hour_logins=hour.logins,
    )


def rules(target: SloTarget, *, name: str = "login", plural: str = "logins") -> tuple[Rule, ...]:
    """Return the rules for *target*.

    Args:
        target: The limits.
        name: The beginning of the alerts' names.
        plural: How the sentences call the requests; without braces.
    """
    budget_percent = 100 * target.error_budget
    return (
        Rule(
            f"{name}_p95",
            lambda reading: reading.p95_ms,
            lambda reading: reading.timed,
            target.p95_warning_ms,
            target.p95_critical_ms,
            f"the slowest 5 % of {plural} take {{value}} ms or longer; the limit is {{limit}} ms",
        ),
        Rule(
            f"{name}_success",
            lambda reading: 100 - reading.success_rate if reading.failures >= MIN_FAILURES else 0.0,
            lambda reading: reading.logins,
            # Slightly above, so that exactly the target rate raises no alert.
            budget_percent * (1 + 1e-9),
            min(100.0, CRITICAL_BUDGETS * budget_percent),
            f"{{value}} % of {plural} fail; the limit is {{limit}} %",
        ),
        Rule(
            f"{name}_burn",
            lambda reading: min(reading.burn_recent, reading.burn_hour) if reading.failures >= MIN_FAILURES else 0.0,
            lambda reading: reading.logins,
            BURN_WARNING,
            BURN_CRITICAL,
            f"{plural} fail {{value}} times as often as allowed, for minutes and over the hour; the limit is {{limit}}",
        ),
    )


def _burn_rate(count: Count, target: SloTarget) -> float:
    return count.failure_ratio / target.error_budget
