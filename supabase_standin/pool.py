"""A bounded handful of database connections, opened when they are first needed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final

import psycopg

CONNECT_TIMEOUT_S: Final = 10


class Pool:
    """Lends connections to one database, at most *size* at a time; who finds none waits.

    Args:
        dsn: The database.
        size: The most connections.
    """

    def __init__(self, dsn: str, *, size: int) -> None:
        self._dsn = dsn
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection] = []
        self._is_closed = False
        self._after = threading.local()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """Lend a connection for one transaction: committed at the end, rolled back by any exception.

        Raises:
            psycopg.OperationalError: The database cannot be reached.
        """
        outer = getattr(self._after, "calls", None)
        calls: list[Callable[[], object]] = []
        with self._slots:
            connection = self._take()
            self._after.calls = calls
            try:
                with connection.transaction():
                    yield connection
            finally:
                self._after.calls = outer
                self._give_back(connection)
        for call in calls:
            call()

    def after_commit(self, call: Callable[[], object]) -> None:
        """Call *call* when this thread's transaction is committed, never if it is rolled back."""
        self._after.calls.append(call)

    def close(self) -> None:
        """Close the idle connections now and the lent ones when they come back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> psycopg.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return psycopg.connect(self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)

    def _give_back(self, connection: psycopg.Connection) -> None:
        with self._lock:
            if not self._is_closed and not connection.broken:
                self._idle.append(connection)
                return
        connection.close()
