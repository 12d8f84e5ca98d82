"""Says that records of the audit trail are lost: in the log, in readiness, in the metrics."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from velro_auth.health_checks import Finding
from velro_auth.telemetry.shared import Table, Workers

logger = logging.getLogger("velro_auth.telemetry")

#: The log says it at most once in so many seconds.
SAID_EVERY_S: Final = 60.0

#: So long after a loss readiness warns, in seconds.
SHOWN_FOR_S: Final = 300.0

_COUNT, _LAST_S, _WIDTH = 0, 1, 2


class LostRecords:
    """Counts what all workers of an instance lost.

    Args:
        workers: The processes of this instance.
        clock: Seconds that never go back, the same in all processes.
    """

    def __init__(self, workers: Workers, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = Table(workers, _WIDTH)
        self._clock = clock
        self._pid, self._lock = 0, threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._pid, self._here, self._said, self._said_s = os.getpid(), 0, 0, -math.inf

    @property
    def here(self) -> int:
        """How many records this process lost; for a metric."""
        return self._here if self._pid == os.getpid() else 0

    def note(self) -> None:
        """Note that one record was lost. Logs nothing: it may be called by whoever writes the log."""
        row = self._table.mine()
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            self._here += 1
            row[_COUNT] += 1
            row[_LAST_S] = self._clock()

    def say(self) -> None:
        """Log what was lost since the last time, at most once a minute; the watch calls this."""
        if self._clock() - self._said_s >= SAID_EVERY_S:
            self.say_now()

    def say_now(self) -> None:
        """Log what was lost and not said yet, if anything."""
        with self._lock:
            count, self._said = self.here - self._said, self.here
            if count > 0:
                self._said_s = self._clock()
        if count > 0:
            logger.error("audit records were lost", extra={"lost": count, "variable": "AUDIT_FILE"})

    def check(self) -> Finding:
        """Return what readiness says about the trail."""
        lost, last_s = int(self._table.sums()[_COUNT]), max(row[_LAST_S] for row in self._table.rows)
        if not lost or self._clock() - last_s >= SHOWN_FOR_S:
            return Finding("pass")
        return Finding(
            "warn",
            f"{lost} audit records could not be written, the last {self._clock() - last_s:.0f} s ago:"
            " see that the disk of AUDIT_FILE has room",
        )
