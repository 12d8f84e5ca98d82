"""Service level: what was promised for logins, and how far the last minutes are from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from velro_auth.telemetry.window import Count, Window

Level: TypeAlias = Literal["ok", "warning", "critical"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "critical")

#: Burn rates of Google's SRE Workbook, chapter 5: at 14.4 an hour uses up a fiftieth of a month's allowance.
#: The short window has to agree, so that an alert ends soon after the trouble does.
BURN_WARNING: Final = 6.0
BURN_CRITICAL: Final = 14.4

#: So many times the allowed share of failures is critical at once; an hour's burn rate would take its time.
FAILING_BADLY: Final = 5.0

#: A single failure of a quiet hour is no alert, whatever share of the few logins it is.
MIN_FAILURES: Final = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Promise:
    """What operators demand of logins.

    Attributes:
        p95_warning_ms: The slowest twentieth may take this long.
        p95_critical_ms: And must not take this long.
        success_rate_min: Logins that have to be answered properly, in percent.
        min_samples: Fewer logins than this tell nothing.
    """

    p95_warning_ms: float = 500.0
    p95_critical_ms: float = 1000.0
    success_rate_min: float = 99.0
    min_samples: int = 20

    @property
    def allowed_share(self) -> float:
        """Logins that may fail, 0 to 1; never quite none, so that a rate of burning it exists."""
        return max(1e-6, 1 - self.success_rate_min / 100)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The service level at one moment. Percentiles are in milliseconds.

    Attributes:
        logins: Judged logins in the rolling window.
        failures: Those among them that failed.
        timed: Those among them that asked Supabase; the percentiles are theirs.
        success_rate: In percent; 100 when there was no login.
        p50_ms: Half of them took no longer.
        p95_ms: 95 % of them took no longer.
        p99_ms: 99 % of them took no longer.
        own_p95_ms: The same of our own share.
        burn_recent: How many times faster than allowed the rolling window failed.
        burn_hour: The same of the last hour; the smaller of the two counts.
        hour_logins: Judged logins in the last hour.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One demand, so put that more is worse.

    Attributes:
        name: Stable identifier.
        value: Reads the number that is judged.
        samples: Reads how many logins it rests on.
        warning: From here on it is a warning.
        critical: From here on it is critical.
        text: One sentence; ``{value}`` and ``{limit}`` stand for the numbers.
    """

    name: str
    value: Callable[[Reading], float]
    samples: Callable[[Reading], int]
    warning: float
    critical: float
    text: str

    def level(self, value: float) -> Level:
        """Return what *value* amounts to."""
        return LEVELS[(value >= self.warning) + (value >= self.critical)]

    def describe(self, value: float, level: Level) -> str:
        """Say in one sentence what is the matter."""
        limit = self.critical if level == "critical" else self.warning
        return self.text.format(value=f"{value:.4g}", limit=f"{limit:.4g}")


def read(window: Window, promise: Promise) -> Reading:
    """Read the service level of this moment."""
    recent, hour = window.recent(), window.hour()
    return Reading(
        logins=recent.count.logins,
        failures=recent.count.failures,
        timed=recent.total.total,
        success_rate=100 * (1 - recent.count.failed_share),
        p50_ms=recent.total.percentile_ms(0.50),
        p95_ms=recent.total.percentile_ms(0.95),
        p99_ms=recent.total.percentile_ms(0.99),
        own_p95_ms=recent.own.percentile_ms(0.95),
        burn_recent=_burn(recent.count, promise),
        burn_hour=_burn(hour, promise),
        hour_logins=hour.logins,
    )


def rules(promise: Promise, *, name: str = "login", plural: str = "logins") -> tuple[Rule, ...]:
    """Return the demands that *promise* makes.

    Args:
        promise: What is demanded.
        name: What the alerts' names begin with.
        plural: What the sentences call the requests; without braces.
    """
    allowed = 100 * promise.allowed_share
    return (
        Rule(
            f"{name}_p95",
            lambda reading: reading.p95_ms,
            lambda reading: reading.timed,
            promise.p95_warning_ms,
            promise.p95_critical_ms,
            f"the slowest 5 % of {plural} take {{value}} ms or longer; the limit is {{limit}} ms",
        ),
        Rule(
            f"{name}_success",
            lambda reading: 100 - reading.success_rate if reading.failures >= MIN_FAILURES else 0.0,
            lambda reading: reading.logins,
            # Above, not at: the promised rate itself is kept.
            allowed * (1 + 1e-9),
            min(100.0, FAILING_BADLY * allowed),
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


def _burn(count: Count, promise: Promise) -> float:
    return count.failed_share / promise.allowed_share
