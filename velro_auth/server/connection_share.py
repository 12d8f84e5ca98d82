"""How many connections each worker of an instance has, so that a worker leaves new ones to a worker with fewer.

The kernel wakes all workers that wait for a client, or any one of them. If a proxy keeps its connections open, one
worker may get most of them, and so most requests of the next minutes: with 16 kept connections two processes answered
no more logins than one (measured).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from velro_auth.telemetry.shared import Table, Workers

#: How long a worker leaves a new client to the workers with fewer connections, before it accepts it nevertheless.
LEFT_TO_OTHERS_S: Final = 0.002
#: A worker that has not reported for so long has ended, or hangs. Workers report once a second.
SILENT_S: Final = 2.5

_COUNT, _REPORTED_S = 0, 1


class ConnectionShare:
    """The numbers of connections of all workers, in memory that they share. Built before the fork.

    Args:
        workers: Number of worker processes.
        clock: Monotonic clock in seconds, the same in all processes.
    """

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = Table(Workers(workers=workers), 2)
        self._clock = clock

    def report(self, connections: int) -> None:
        """Say how many connections this worker has; call it once a second too."""
        row = self._table.own_row()
        row[_COUNT], row[_REPORTED_S] = connections, self._clock()

    def has_more_than_another(self, connections: int) -> bool:
        """Return whether a worker that accepts clients has fewer connections than this one, which has *connections*."""
        since_s = self._clock() - SILENT_S
        own = self._table.own_row()
        return any(
            row[_COUNT] < connections for row in self._table.rows if row is not own and row[_REPORTED_S] > since_s
        )

    def leave(self) -> None:
        """Say that this worker accepts no more clients."""
        self._table.own_row()[_REPORTED_S] = 0.0
