"""Brings ``public.users`` in line with ``auth.users``, a batch at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, cast

from psycopg.errors import Diagnostic

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import UnknownMigration
from velro_auth.ops.database.history import exists
from velro_auth.ops.database.transaction import Transactions

#: Users per transaction: small enough that a sign-up beside it finds a core and the disk free soon.
BATCH_SIZE: Final = 2000

#: What velro_auth.backfill_users() warns of.
_UNWRITTEN: Final = re.compile(
    r"velro-auth: \d+ rows of public\.users could not be written so far: (?P<problem>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the back-fill has come.

    Attributes:
        scanned: Users looked at since it began, in earlier runs too.
        total: Users there were when this run began.
        written: Rows of ``public.users`` made or mended.
        failed: Rows that could not be written, because of a constraint of the project's own.
        finished: Whether it has come to the end.
        problem: What kept the last of the failed rows out, in the database's words; empty where none failed in this
            run.
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
    """Mirror every user, and return how it ended.

    The place that was reached is stored with each batch: an interrupted run is continued, a finished one starts
    over. Two at once take turns.

    Raises:
        UnknownMigration: The migration that brings it is not applied.
        LockNotObtained: Somebody held a lock through all tries.
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
    """Collect what the back-fill says of rows that it could not write, for the length of a block."""
    found: list[str] = []

    def note(diagnostic: Diagnostic) -> None:
        if match := _UNWRITTEN.match(diagnostic.message_primary or ""):
            found.append(match["problem"])

    connection.add_notice_handler(note)
    try:
        yield found
    finally:
        connection.remove_notice_handler(note)


def is_pending(connection: Connection) -> bool:
    """Return whether the back-fill is there and has never come to its end."""
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
        raise UnknownMigration("The migrations are not all applied; run velro-auth db up first")
    return cast("int", row[0])


def _batch(connection: Connection, batch_size: int, total: int) -> Progress:
    row = connection.execute(
        "select scanned, written, failed, finished_at is not null from velro_auth.backfill_users(%s)", (batch_size,)
    ).fetchone()
    scanned, written, failed, finished = cast("tuple[int, int, int, bool]", row)
    return Progress(scanned, max(total, scanned), written, failed, finished)
