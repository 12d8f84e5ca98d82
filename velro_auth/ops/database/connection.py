"""Connects to the database, and runs transactions behind the advisory lock of the migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.files import package_sql

Connection = psycopg.Connection[tuple[object, ...]]
Result = TypeVar("Result")

CONNECT_TIMEOUT_S: Final = 10

#: How long one try may wait for a lock. Sign-ups queue behind the waiting migration, so this bounds their delay.
LOCK_TIMEOUT_MS: Final = 50

#: Pauses between the tries, in seconds. Autovacuum of auth.users can hold its lock for this long.
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)

#: How long to wait for another run of the migrations.
ADVISORY_LOCK_TIMEOUT_MS: Final = 300_000

#: "velro" in ASCII.
ADVISORY_LOCK_KEY: Final = 0x76_65_6C_72_6F

#: Errors that may not occur again when the transaction is repeated.
TRANSIENT: Final = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

#: Part of libpq's message → what it means in practice.
_HINTS: Final = {
    "password authentication failed": "the password or the user name is wrong",
    "no password supplied": "the address contains no password",
    "Tenant or user not found": "the pooler wants the user name postgres.<project reference>",
    "could not translate host name": "the host name is unknown",
    "failed to resolve host": "the host name is unknown",
    "Network is unreachable": "the host has an IPv6 address only; use the address of the session pooler",
    "Connection refused": "nothing listens at that host and port",
    "timeout expired": f"no answer within {CONNECT_TIMEOUT_S} s",
    "does not exist": "there is no such database or role",
    "certificate": "the server's certificate was not accepted",
    "too many": "all connections are taken",
}


def parse_url(dsn: str) -> dict[str, str]:
    """Return the parts of a database address.

    Raises:
        DatabaseError: It is empty, another kind of address, or malformed.
    """
    if not dsn.strip():
        raise DatabaseError("DATABASE_URL is not set; Supabase shows it under Connect")
    if dsn.startswith(("http://", "https://")):
        raise DatabaseError(
            "DATABASE_URL is a web address; the database's begins with postgresql:// (Supabase shows it under Connect)"
        )
    if "[YOUR-PASSWORD]" in dsn:
        raise DatabaseError("DATABASE_URL still contains the placeholder [YOUR-PASSWORD]")
    # The parser's own message is not shown: it may quote a part of the password.
    with suppress(psycopg.Error):
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
        # An unescaped @ or / in the password moves a part of it into the host or the port.
        if "@" not in parts.get("host", "") and parts.get("port", "0").replace(",", "").isdigit():
            return parts
    raise DatabaseError(
        "DATABASE_URL is not a PostgreSQL address; special characters in the password must be"
        " percent-encoded (@ as %40, / as %2F, % as %25)"
    )


def describe(dsn: str) -> str:
    """Return the name of the database and its host, without the password.

    Raises:
        DatabaseError: The address cannot be used.
    """
    parts = parse_url(dsn)
    host, database = parts.get("host", "the local server"), parts.get("dbname", "its default database")
    return f"{database} on {host}"


@contextmanager
def connected(dsn: str, on_notice: Callable[[str], None] = lambda _: None) -> Iterator[Connection]:
    """Open a connection, in autocommit, for the length of a block.

    It prepares no statement and sets nothing for the session, so it works through a transaction pooler.

    *on_notice* is called with each warning of the server, as one line.

    Raises:
        DatabaseError: The address cannot be used; the connection failed or broke; the server refused a statement, and
            the block did not handle the error.
    """
    name = describe(dsn)
    try:
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_S,
            fallback_application_name="velro-auth",
        )
    except psycopg.OperationalError as error:
        message = str(error)
        meaning = next(
            (meaning for part, meaning in _HINTS.items() if part in message), message.strip().splitlines()[-1]
        )
        raise DatabaseError(f"No connection to {name}: {meaning}") from error

    def pass_warning(diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            on_notice(diagnostic.message_primary or "")

    connection.add_notice_handler(pass_warning)
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            if connection.broken:
                raise DatabaseError(
                    f"The connection to {name} broke; what was committed is recorded, so run the command again"
                ) from error
            if error.sqlstate is None:
                raise  # a defect of ours, not an answer of the server
            # Without the detail, which may quote personal data.
            raise DatabaseError(f"{name}: {error.diag.message_primary} ({error.sqlstate})") from error


@dataclass(frozen=True, slots=True)
class Transactions:
    """Runs transactions, one runner at a time, and repeats them after transient errors.

    The advisory lock belongs to the transaction (``pg_advisory_xact_lock``), not to the session. So it works through
    a transaction pooler, and the server releases it when the runner is killed.
    """

    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    pauses_s: Sequence[float] = PAUSES_S
    advisory_lock_timeout_ms: int = ADVISORY_LOCK_TIMEOUT_MS
    sleep: Callable[[float], None] = time.sleep

    def run(self, connection: Connection, body: Callable[[], Result], *, force_rollback: bool = False) -> Result:
        """Call *body* in a transaction and return its result; with *force_rollback*, nothing is kept.

        Raises:
            DatabaseError: Another session held a lock through all tries.
        """
        for pause_s in self.pauses_s:
            try:
                return self._once(connection, body, force_rollback)
            except TRANSIENT:
                self.sleep(pause_s)
        try:
            return self._once(connection, body, force_rollback)
        except TRANSIENT as error:
            row = connection.execute(package_sql("database/lock_holders").encode()).fetchone()
            raise DatabaseError(
                f"A lock was not obtained in {len(self.pauses_s) + 1} tries, and nothing was changed; locks on the"
                f" tables of users are held by: {(row and row[0]) or 'no session any more'}"
            ) from error

    def _once(self, connection: Connection, body: Callable[[], Result], force_rollback: bool) -> Result:  # noqa: FBT001
        with connection.transaction(force_rollback=force_rollback):
            self._acquire_advisory_lock(connection)
            _set_local(connection, "lock_timeout", f"{self.lock_timeout_ms}ms")
            _set_local(connection, "search_path", "")
            return body()

    def _acquire_advisory_lock(self, connection: Connection) -> None:
        _set_local(connection, "statement_timeout", "0")
        _set_local(connection, "lock_timeout", f"{self.advisory_lock_timeout_ms}ms")
        try:
            connection.execute("select pg_advisory_xact_lock(%s)", (ADVISORY_LOCK_KEY,))
        except errors.LockNotAvailable:
            raise DatabaseError(
                f"Another run of the migrations did not end within {self.advisory_lock_timeout_ms / 1000:.0f} s"
            ) from None


def _set_local(connection: Connection, name: str, value: str) -> None:
    connection.execute("select set_config(%s, %s, true)", (name, value))
