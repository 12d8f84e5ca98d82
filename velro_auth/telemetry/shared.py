"""Numbers in shared memory: a table with one row for each worker process, and the window of the latest logins in one.

The memory is mapped before gunicorn forks (``preload_app``), so every worker sees it, and it outlives each of them:
the counts of a killed worker stay. Each row has one writer, so no lock between processes is needed.
prometheus-client's own way, one file for each process, costs 8.7 µs per login where this costs 1.7 (measured: six
numbers each), needs an environment variable before its import, and takes no gauge from a function.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import sys
import tempfile
import threading
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_CELL_BYTES: Final = 8

#: Upper bounds of the buckets: 1 ms to 30 s, each 10 % above the one before. So a percentile is off by at most 10 %.
BOUNDS_MS: Final = tuple(1.1**step for step in range(109))

#: Refusals that count as success: wrong password, wrong field, too many attempts.
EXPECTED_REFUSALS: Final = frozenset({401, 422, 429})

HOUR_S: Final = 3600.0

#: One more than bounds: the last bucket has no upper bound.
BUCKETS: Final = len(BOUNDS_MS) + 1

#: Offsets in an interval's numbers.
_SUCCESSES, _FAILURES, _TOTAL, _OWN = 0, 1, 2, 2 + BUCKETS
_FAILED: Final = 500


class Workers:
    """Gives each worker process a row of its own, and one of them the lead.

    Built before the fork. A process owns a row while it holds the lock on one byte of a nameless file. The kernel
    releases the lock when the process dies, however it dies. The lead works in the same way.

    Args:
        workers: Number of worker processes. There are twice as many rows plus two, because old workers drain while
            new ones start. When all rows are taken, further processes share the last one.
    """

    def __init__(self, *, workers: int = 1) -> None:
        self.rows: Final = 2 * workers + 2
        self._file = _nameless_file()
        weakref.finalize(self, os.close, self._file)
        self._pid, self._row = 0, 0
        self._leader_pid = 0

    @property
    def row(self) -> int:
        """The row of this process, taken on first use."""
        pid = os.getpid()
        if self._pid != pid:
            # Two threads that call this at once get the same row: the locks belong to the process.
            self._row = next((row for row in range(self.rows) if self._lock_byte(row)), self.rows - 1)
            self._pid = pid
        return self._row

    def leads(self) -> bool:
        """Return whether this process leads the instance. The first process that asks leads until it ends."""
        if self._leader_pid != os.getpid() and self._lock_byte(self.rows):
            self._leader_pid = os.getpid()
        return self._leader_pid == os.getpid()

    def _lock_byte(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True


class Table:
    """A row of numbers for each worker, all zero at first.

    A reader may see a row while its owner writes. Each number is consistent (eight aligned bytes); two related
    numbers may differ by one update.
    """

    def __init__(self, workers: Workers, width: int) -> None:
        self.workers = workers
        cells = memoryview(mmap.mmap(-1, workers.rows * width * _CELL_BYTES)).cast("d")
        self.rows: Final = tuple(cells[row * width : (row + 1) * width] for row in range(workers.rows))
        self._pid, self._own = 0, self.rows[0]
        #: Hold it while changing the row of this process: other threads change it, too.
        self.lock: Final = threading.Lock()

    def own_row(self) -> memoryview[float]:
        """Return the row of this process."""
        pid = os.getpid()
        if self._pid != pid:
            self._own = self.rows[self.workers.row]
            self._pid = pid
        return self._own

    def sums(self) -> list[float]:
        """Return the sum of all rows, number by number."""
        return [sum(column) for column in zip(*self.rows, strict=True)]


def _nameless_file() -> int:
    """Return a descriptor to lock bytes of. Its file has no name; on Linux it is in memory."""
    if sys.platform == "linux":
        return os.memfd_create("velro-auth-workers")
    else:  # noqa: RET505 - mypy recognises platforms by their branches
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


#: What the form of a page is answered with.
_SEE_OTHER: Final = 303


def is_success(status: int) -> bool | None:
    """Return whether a login with this status is a success, a failure (False), or not counted at all (None).

    A request that cannot be understood says nothing about the service. The form of a page is answered with 303.
    """
    if status // 100 == 2 or status == _SEE_OTHER or status in EXPECTED_REFUSALS:  # noqa: PLR2004 - the class of successes
        return True
    return False if status >= _FAILED else None


def bucket(took_ms: float) -> int:
    """Return the index of the bucket that a duration falls into."""
    return bisect_left(BOUNDS_MS, took_ms)


@dataclass(frozen=True, slots=True)
class Count:
    """Logins of a period.

    Attributes:
        successes: Logins that were answered correctly, expected refusals included.
        failures: Logins that were answered with 5xx, time-outs included.
    """

    successes: int = 0
    failures: int = 0

    @property
    def logins(self) -> int:
        """All counted logins."""
        return self.successes + self.failures

    @property
    def failure_ratio(self) -> float:
        """Failures divided by logins, 0 to 1; 0 without any login."""
        return self.failures / self.logins if self.logins else 0.0


class Durations:
    """A histogram of durations: *counts* has a number for each bucket of ``BOUNDS_MS``."""

    def __init__(self, counts: Sequence[float]) -> None:
        self._counts = tuple(counts)
        self.total: Final = int(sum(self._counts))

    def percentile_ms(self, share: float) -> float:
        """Return the percentile for *share*, 0 to 1 (nearest rank); 0 without any duration.

        Within a bucket, durations are assumed to be spread evenly. A duration above the last bound is reported as
        that bound.
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
        total: Durations of the logins that called Supabase. Those refused before would hide how slow Supabase is.
        own: Our own share of the same logins.
    """

    count: Count
    total: Durations
    own: Durations


class Window:
    """Counts the logins of the last minutes with durations, and of the last hour without."""

    def __init__(
        self, workers: Workers, *, length_s: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recent = _Ring(workers, interval_s=length_s / 60, keep_s=length_s, width=2 + 2 * BUCKETS)
        self._hour = _Ring(workers, interval_s=HOUR_S / 60, keep_s=HOUR_S, width=2)
        self._clock = clock

    def record(self, status: int, *, took_ms: float, own_ms: float, called_supabase: bool) -> None:
        """Count one answered login by its status, if ``is_success`` counts it."""
        if (success := is_success(status)) is not None:
            self.add(is_success=success, took_ms=took_ms if called_supabase else None, own_ms=own_ms)

    def add(self, *, is_success: bool, took_ms: float | None, own_ms: float) -> None:
        """Count one login.

        Args:
            is_success: Whether it was answered correctly.
            took_ms: How long it took; None leaves both durations out.
            own_ms: Our own share of it.
        """
        outcome, now = _SUCCESSES if is_success else _FAILURES, self._clock()
        offsets = [outcome]
        if took_ms is not None:
            offsets += [_TOTAL + bucket(took_ms), _OWN + bucket(own_ms)]
        self._recent.add(now, offsets)
        self._hour.add(now, (outcome,))

    def recent(self) -> Recent:
        """Return the rolling window, to within a sixtieth of its length."""
        cells = self._recent.sums(self._clock())
        return Recent(_count(cells), Durations(cells[_TOTAL:_OWN]), Durations(cells[_OWN:]))

    def hour(self) -> Count:
        """Return the last hour, to within a minute."""
        return _count(self._hour.sums(self._clock()))


def _count(cells: Sequence[float]) -> Count:
    return Count(int(cells[_SUCCESSES]), int(cells[_FAILURES]))


class _Ring:
    """A ring buffer of counts, one slot for each time interval; the newest interval overwrites the oldest.

    Each slot begins with the number of its interval, so that an outdated slot is recognised; 0 is an unused slot.
    """

    def __init__(self, workers: Workers, *, interval_s: float, keep_s: float, width: int) -> None:
        self._interval_s = interval_s
        self._length = round(keep_s / interval_s)
        self._stride = 1 + width
        self._zeros = memoryview(bytes(8 * width)).cast("d")
        self._table = Table(workers, self._length * self._stride)

    def add(self, now: float, offsets: Sequence[int]) -> None:
        """Add one at each of *offsets* in the slot of the interval that *now* falls into."""
        number = 1 + int(now / self._interval_s)
        start = number % self._length * self._stride
        row = self._table.own_row()
        with self._table.lock:
            if row[start] != number:
                row[start + 1 : start + self._stride] = self._zeros
                row[start] = number
            for offset in offsets:
                row[start + 1 + offset] += 1

    def sums(self, now: float) -> list[float]:
        """Return the sums over all current slots and all workers."""
        newest = 1 + int(now / self._interval_s)
        slots = [
            row[start + 1 : start + self._stride]
            for row in self._table.rows
            for start in range(0, len(row), self._stride)
            if newest - self._length < row[start] <= newest
        ]
        return [sum(column) for column in zip(self._zeros, *slots, strict=True)]
