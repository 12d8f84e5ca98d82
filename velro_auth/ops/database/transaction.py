"""One transaction at a time: behind the migrations' own lock, and patient with the locks of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from psycopg import errors

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import LockNotObtained

#: How long a statement may wait for a lock, in milliseconds. Whoever signs up meanwhile waits behind us, so this
#: bounds what a migration can cost them.
LOCK_TIMEOUT_MS: Final = 50

#: Seconds to wait before each further try. Autovacuum of auth.users can keep us out for this long.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)

#: How long to wait for another run of the migrations, in milliseconds.
TURN_TIMEOUT_MS: Final = 300_000

#: The key of the advisory lock: "velro" in ASCII.
LOCK_KEY: Final = 0x76_65_6C_72_6F

Result = TypeVar("Result")

#: Errors that another try may not meet again.
PASSING: Final = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

_HOLDERS: Final = """
select string_agg(distinct format('%s (pid %s)', coalesce(a.usename, a.backend_type, 'the server itself'), a.pid), ', ')
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.granted and l.pid <> pg_backend_pid() and l.mode not in ('AccessShareLock', 'RowShareLock')
  and l.database = (select oid from pg_database where datname = current_database())
  and l.relation in (select c.oid from pg_class c where c.relname = 'users'
                     and c.relnamespace in (to_regnamespace('auth'), to_regnamespace('public')))
"""


@dataclass(frozen=True, slots=True)
class Transactions:
    """Runs pieces of work, each in a transaction that only one runner has at a time.

    The lock lives inside the transaction (``pg_advisory_xact_lock``): it needs no session, so it works through a
    transaction pooler, and it is gone when the runner is killed.

    Attributes:
        lock_timeout_ms: How long one try may wait for a lock.
        pauses_s: How long to pause before each further try.
        turn_timeout_ms: How long to wait for another runner.
        sleep: How to pause.
    """

    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    pauses_s: Sequence[float] = PAUSES_S
    turn_timeout_ms: int = TURN_TIMEOUT_MS
    sleep: Callable[[float], None] = time.sleep

    def run(self, connection: Connection, work: Callable[[], Result]) -> Result:
        """Return what *work* returns, once it could have its locks.

        Raises:
            LockNotObtained: Somebody held a lock through all tries.
        """
        for pause_s in self.pauses_s:
            try:
                return self._once(connection, work)
            except PASSING:
                self.sleep(pause_s)
        try:
            return self._once(connection, work)
        except PASSING as error:
            raise LockNotObtained(
                f"A lock was not obtained in {len(self.pauses_s) + 1} tries, and nothing was changed; on the"
                f" tables of users there is: {_holders(connection)}"
            ) from error

    def _once(self, connection: Connection, work: Callable[[], Result]) -> Result:
        with connection.transaction():
            self._wait_for_turn(connection)
            _set_local(connection, "lock_timeout", f"{self.lock_timeout_ms}ms")
            _set_local(connection, "search_path", "")
            return work()

    def _wait_for_turn(self, connection: Connection) -> None:
        _set_local(connection, "statement_timeout", "0")
        _set_local(connection, "lock_timeout", f"{self.turn_timeout_ms}ms")
        try:
            connection.execute("select pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        except errors.LockNotAvailable:
            raise LockNotObtained(
                f"Another run of the migrations did not end within {self.turn_timeout_ms / 1000:.0f} s"
            ) from None


def _set_local(connection: Connection, name: str, value: str) -> None:
    connection.execute("select set_config(%s, %s, true)", (name, value))


def _holders(connection: Connection) -> str:
    row = connection.execute(_HOLDERS).fetchone()
    return str(row[0]) if row and row[0] else "nobody any more"
