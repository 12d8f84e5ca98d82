"""The logins of the last minutes and of the last hour, over all workers of an instance."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from velro_auth.telemetry.answered import Answered
from velro_auth.telemetry.shared import Table, Workers

#: Upper bounds of the buckets: a millisecond to half a minute, each a tenth above the last. So no percentile
#: is off by more than a tenth, and a bucketful of logins takes no more room than one.
BOUNDS_MS: Final = tuple(1.1**step for step in range(109))

#: Refusals that a login may rightfully meet: wrong password, wrong field, too many attempts.
RIGHTFUL: Final = frozenset({401, 422, 429})

HOUR_S: Final = 3600.0

#: The last one has no upper bound.
BUCKETS: Final = len(BOUNDS_MS) + 1

_SUCCESSES, _FAILURES, _TOTAL, _OWN = 0, 1, 2, 2 + BUCKETS
_FAILED: Final = 500


def verdict(status: int) -> bool | None:
    """Tell whether a login with this answer counts as success (True), as failure, or not at all (None).

    A request that cannot be understood says nothing about the service.
    """
    if status // 100 == 2 or status in RIGHTFUL:  # noqa: PLR2004 - the class of successes
        return True
    return False if status >= _FAILED else None


def bucket(took_ms: float) -> int:
    """Return the place of a duration among ``BUCKETS`` buckets."""
    return bisect_left(BOUNDS_MS, took_ms)


@dataclass(frozen=True, slots=True)
class Count:
    """Logins of some stretch of time.

    Attributes:
        successes: Answered as they should be, rightful refusals included.
        failures: Answered with 5xx, time-outs included.
    """

    successes: int = 0
    failures: int = 0

    @property
    def logins(self) -> int:
        """All that were judged."""
        return self.successes + self.failures

    @property
    def failed_share(self) -> float:
        """Failures among them, 0 to 1; 0 where there was none at all."""
        return self.failures / self.logins if self.logins else 0.0


class Durations:
    """Durations sorted into buckets of ``BOUNDS_MS``.

    Args:
        counts: How many fell into each bucket; the last has no upper bound.
    """

    def __init__(self, counts: Sequence[float]) -> None:
        self._counts = tuple(counts)
        self.total: Final = int(sum(self._counts))

    def percentile_ms(self, share: float) -> float:
        """Return the duration that *share* of all did not exceed (nearest rank); 0 where there was none.

        Within its bucket a rank is placed as if durations were spread evenly. What exceeds the last bound
        is given as that bound.
        """
        rank, before = max(1, math.ceil(share * self.total)), 0.0
        for bucket, count in enumerate(self._counts):
            if count and before + count >= rank:
                low = BOUNDS_MS[bucket - 1] if bucket else 0.0
                high = BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
                return low + (high - low) * (rank - before) / count
            before += count
        return 0.0


@dataclass(frozen=True, slots=True)
class Recent:
    """The logins of the rolling window.

    Attributes:
        count: Successes and failures.
        total: What logins took that asked Supabase; those refused before it would only hide how slow it is.
        own: Our own share of the same logins.
    """

    count: Count
    total: Durations
    own: Durations


class Window:
    """Keeps the last minutes by durations and the last hour by success, in memory that all workers share.

    Args:
        workers: The processes of this instance.
        length_s: Length of the rolling window.
        clock: Seconds that never go back, the same in all processes.
    """

    def __init__(
        self, workers: Workers, *, length_s: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.length_s: Final = length_s
        self._fine = _Spans(workers, span_s=length_s / 60, keep_s=length_s, width=2 + 2 * BUCKETS)
        self._coarse = _Spans(workers, span_s=HOUR_S / 60, keep_s=HOUR_S, width=2)
        self._clock = clock

    def note(self, answered: Answered) -> None:
        """Note one login."""
        is_success = verdict(answered.status)
        if is_success is not None:
            asked = answered.context.upstream_ms > 0
            self.add(is_success=is_success, took_ms=answered.took_ms if asked else None, own_ms=answered.own_ms)

    def add(self, *, is_success: bool, took_ms: float | None, own_ms: float) -> None:
        """Note one request that was judged.

        Args:
            is_success: Whether it was answered as it should be.
            took_ms: How long it took; None when that says nothing, and then ``own_ms`` does not either.
            own_ms: Our own share of it.
        """
        place, now = _SUCCESSES if is_success else _FAILURES, self._clock()
        places = [place]
        if took_ms is not None:
            places += [_TOTAL + bucket(took_ms), _OWN + bucket(own_ms)]
        self._fine.add(now, places)
        self._coarse.add(now, (place,))

    def recent(self) -> Recent:
        """Return the rolling window, to within a sixtieth of its length."""
        cells = self._fine.sums(self._clock())
        return Recent(_count(cells), Durations(cells[_TOTAL:_OWN]), Durations(cells[_OWN:]))

    def hour(self) -> Count:
        """Return the last hour, to within a minute."""
        return _count(self._coarse.sums(self._clock()))


def _count(cells: Sequence[float]) -> Count:
    return Count(int(cells[_SUCCESSES]), int(cells[_FAILURES]))


class _Spans:
    """Counts by span of time, in a ring: the newest takes the place of the oldest.

    Each span begins with its number, by which a stale one is told; 0 was never used.
    """

    def __init__(self, workers: Workers, *, span_s: float, keep_s: float, width: int) -> None:
        self._span_s = span_s
        self._keep = round(keep_s / span_s)
        self._stride = 1 + width
        self._empty = memoryview(bytes(8 * width)).cast("d")
        self._table = Table(workers, self._keep * self._stride)

    def add(self, now: float, places: Sequence[int]) -> None:
        """Add one at each of *places* of the span that *now* falls into."""
        number = 1 + int(now / self._span_s)
        start = number % self._keep * self._stride
        row = self._table.mine()
        with self._table.lock:
            if row[start] != number:
                row[start + 1 : start + self._stride] = self._empty
                row[start] = number
            for place in places:
                row[start + 1 + place] += 1

    def sums(self, now: float) -> list[float]:
        """Return the sums over all spans that are not stale, and over all workers."""
        newest = 1 + int(now / self._span_s)
        spans = [
            row[start + 1 : start + self._stride]
            for row in self._table.rows
            for start in range(0, len(row), self._stride)
            if newest - self._keep < row[start] <= newest
        ]
        return [sum(column) for column in zip(self._empty, *spans, strict=True)]
