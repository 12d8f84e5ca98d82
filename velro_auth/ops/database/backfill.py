"""Mirrors ``auth.users`` into ``public.users``, in batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, cast

from psycopg.errors import Diagnostic

from velro_auth.ops.database.connection import Connection, Transactions
from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.history import exists

#: Users per transaction: small enough that a concurrent sign-up waits only briefly for a core and the disk.
BATCH_SIZE: Final = 2000

#: The warning of velro_auth.backfill_users().
_ROWS_FAILED: Final = re.compile(
    r"velro-auth: \d+ rows of public\.users could not be written so far: (?P<problem>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the back-fill.

    Attributes:
        scanned: Users read since it began, in earlier runs too.
        failed: Rows that could not be written, because of a constraint of the project's own.
        problem: The database's message for the last failed row; empty where none failed in this run.
    """

    scanned: int
    total: int
    written: int
    failed: int
    finished: bool
    problem: str = ""


def backfill(
    connection: Connection,
    transactions: Transactions,
    *,
    batch_size: int,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Mirror every user, and return the final progress.

    Each batch stores its position: an interrupted run is continued, a finished one starts over. Concurrent runs
    alternate.

    Raises:
        DatabaseError: The migration that creates it is not applied; another session held a lock through all tries.
    """
    total = _total(connection)
    progress = Progress(0, total, 0, 0, finished=False)
    with _problems(connection) as problems:
        while not progress.finished:
            progress = transactions.run(connection, lambda: _batch(connection, batch_size, total))
            progress = replace(progress, problem=problems[-1] if problems else "")
            on_progress(progress)
    transactions.run(connection, lambda: connection.execute("select velro_auth.validate_users()"))
    return progress


@contextmanager
def _problems(connection: Connection) -> Iterator[list[str]]:
    """Collect the database's messages for rows that could not be written, for the length of a block."""
    found: list[str] = []

    def collect(diagnostic: Diagnostic) -> None:
        if match := _ROWS_FAILED.match(diagnostic.message_primary or ""):
            found.append(match["problem"])

    connection.add_notice_handler(collect)
    try:
        yield found
    finally:
        connection.remove_notice_handler(collect)


def is_pending(connection: Connection) -> bool:
    """Return whether the back-fill exists and has never finished."""
    if not exists(connection, "velro_auth", "backfill_state"):
        return False
    row = connection.execute("select from velro_auth.backfill_state where finished_at is not null").fetchone()
    return row is None


def _total(connection: Connection) -> int:
    row = connection.execute(
        "select (select count(*) from auth.users), to_regprocedure('velro_auth.backfill_users(integer)'),"
        " to_regprocedure('velro_auth.validate_users()')"
    ).fetchone()
    if row is None or None in row:
        raise DatabaseError("The migrations are not all applied; run velro-auth db up first")
    return cast("int", row[0])


def _batch(connection: Connection, batch_size: int, total: int) -> Progress:
    row = connection.execute(
        "select scanned, written, failed, finished_at is not null from velro_auth.backfill_users(%s)", (batch_size,)
    ).fetchone()
    scanned, written, failed, finished = cast("tuple[int, int, int, bool]", row)
    return Progress(scanned, max(total, scanned), written, failed, finished)
