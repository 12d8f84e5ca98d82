"""From samples to the figures of one level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.ops.bench.answers import CLASSES, Class, Sample
from velro_auth.ops.bench.stats import Bucket, Spread, histogram, percentile, spread

#: Sent later than this after it was due, a request was held up by the generator, not by a timer's grain.
LATE_MS: Final = 10.0
#: So many late ones are a hiccup of the machine; more, and the generator did not keep up.
_HICCUP: Final = 1
_LATE_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What became of the requests of one class.

    Attributes:
        count: How many there were.
        expected: How many got the right answer.
        outcomes: Status with the error's code, or why there was no answer → how many.
        latency_ms: From due to done, of right answers and of those that never came in time.
        histogram: The same, counted.
    """

    count: int
    expected: int
    outcomes: Mapping[str, int]
    latency_ms: Spread | None
    histogram: Sequence[Bucket]


@dataclass(frozen=True, slots=True)
class Punctuality:
    """Whether requests left when they were due.

    Attributes:
        late_p99_ms: How late, at the 99th percentile.
        late_max_ms: How late at worst.
        late: How many were more than 10 ms late.
        fell_behind: Whether that were so many that the schedule was not kept.
    """

    late_p99_ms: float
    late_max_ms: float
    late: int
    fell_behind: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What one level came to.

    Attributes:
        success_rate_percent: Share of 200 among good logins, those answered 429 left out; None without any.
        throttled_good: Good logins answered 429.
        failed: Answers that were wrong for their class, and requests without one.
        own_ms: The service's own share of a successful login, by ``Server-Timing``.
        punctuality: Whether the generator kept its schedule.
        classes: The figures of each class that occurred.
    """

    success_rate_percent: float | None
    throttled_good: int
    failed: int
    own_ms: Spread | None
    punctuality: Punctuality
    classes: Mapping[Class, ClassFigures]


def figures(samples: Sequence[Sample]) -> Figures:
    """Return what *samples* come to."""
    by_class = {name: [sample for sample in samples if sample.counted_as == name] for name in CLASSES}
    good = by_class["good"]
    return Figures(
        success_rate_percent=round(100 * sum(sample.is_expected for sample in good) / len(good), 3) if good else None,
        throttled_good=sum(sample.kind == "good" for sample in by_class["throttled"]),
        failed=sum(not sample.is_expected for sample in samples),
        own_ms=spread([s.answer.own_ms for s in good if s.is_expected and s.answer.own_ms is not None]),
        punctuality=punctuality(samples),
        classes={name: _of_class(members) for name, members in by_class.items() if members},
    )


def punctuality(samples: Sequence[Sample]) -> Punctuality:
    """Return whether the generator kept its schedule."""
    lateness = sorted(sample.late_ms for sample in samples) or [0.0]
    late = sum(value > LATE_MS for value in lateness)
    return Punctuality(
        late_p99_ms=round(percentile(lateness, 99), 3),
        late_max_ms=round(lateness[-1], 3),
        late=late,
        fell_behind=late > max(_HICCUP, _LATE_SHARE * len(lateness)),
    )


def _of_class(samples: Sequence[Sample]) -> ClassFigures:
    timed = [sample.took_ms for sample in samples if sample.has_latency]
    return ClassFigures(
        count=len(samples),
        expected=sum(sample.is_expected for sample in samples),
        outcomes=dict(sorted(Counter(sample.outcome for sample in samples).items())),
        latency_ms=spread(timed),
        histogram=histogram(timed),
    )
