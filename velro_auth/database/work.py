"""Applies one migration, or takes one back, together with its line in the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors

from velro_auth.database import beforehand, history, rehearsal
from velro_auth.database.connection import Connection
from velro_auth.database.errors import MigrationFailed, MigrationRefused
from velro_auth.database.files import Migration
from velro_auth.database.history import Applied
from velro_auth.database.rehearsal import Rehearsal
from velro_auth.database.transaction import PASSING, Transactions

#: The SQLSTATE by which our migrations say that they will not touch what they found.
REFUSED: Final = "VA001"

#: Validating looks at every row, and must not do so while it holds back sign-ups; it refuses nothing.
NOT_REHEARSED: Final = frozenset({"20261122100400"})


class _Rehearsed(Exception):
    """Takes a rehearsal back, and carries what it showed."""

    def __init__(self, before: Rehearsal, after: Rehearsal) -> None:
        super().__init__()
        self.before, self.after = before, after


@dataclass(frozen=True, slots=True)
class Work:
    """What a runner does on its connection.

    Attributes:
        connection: Where.
        transactions: How each piece is run and repeated.
    """

    connection: Connection
    transactions: Transactions

    def rehearse(
        self, migrations: Sequence[Migration], *, take_over: Sequence[str] = (), shows_warnings: bool = False
    ) -> tuple[Rehearsal, Rehearsal]:
        """Return how a user fares before and after *migrations*; everything is taken back.

        Args:
            migrations: What is rehearsed; nothing for a look at the present state.
            take_over: Triggers of the project that shall fire before ours.
            shows_warnings: Pass on what the migrations warn of.

        Raises:
            MigrationRefused: A migration will not touch what it found.
            MigrationFailed: A migration failed.
            LockNotObtained: Somebody held a lock through all tries.
        """

        def work() -> None:
            if migrations or take_over:
                history.create(self.connection)
            rehearsal.prepare(self.connection)
            before = self._asked()
            with nullcontext() if shows_warnings else self._quiet():
                for one in migrations:
                    with in_our_words(one.label):
                        self._run(one, take_over)
                if take_over and all(one.version != beforehand.MIRROR for one in migrations):
                    with in_our_words("db up --adopt"):
                        beforehand.rename(self.connection, take_over)
            raise _Rehearsed(before, self._asked() if migrations or take_over else before)

        try:
            self.transactions.run(self.connection, work)
        except _Rehearsed as shown:
            return shown.before, shown.after
        raise AssertionError("a rehearsal ends with its own exception")

    def _asked(self) -> Rehearsal:
        with self._quiet():
            return rehearsal.rehearse(self.connection)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep the server's warnings back for a block, inside a transaction."""
        self.connection.execute("set local client_min_messages = error")
        yield
        self.connection.execute("set local client_min_messages = warning")

    def _run(self, migration: Migration, take_over: Sequence[str]) -> None:
        if migration.version not in NOT_REHEARSED:
            beforehand.before(self.connection, migration.version, take_over=take_over)
            self.connection.execute(migration.up_sql.encode())

    def take_over(self, triggers: Sequence[str]) -> None:
        """Let *triggers* of the project fire before ours, which are there already.

        Raises:
            MigrationRefused: A trigger cannot be renamed.
            MigrationFailed: It failed, and was taken back.
            LockNotObtained: Somebody held a lock through all tries.
        """
        with in_our_words("db up --adopt"):
            self.transactions.run(self.connection, lambda: beforehand.rename(self.connection, triggers))

    def apply(self, migration: Migration, *, again: bool = False, take_over: Sequence[str] = ()) -> bool:
        """Apply *migration* and return True; False where another runner was faster.

        Args:
            migration: What is applied.
            again: Apply it even if it is applied already.
            take_over: Triggers of the project that shall fire before ours.

        Raises:
            MigrationRefused: It will not touch what it found.
            MigrationFailed: It failed, and was taken back.
            LockNotObtained: Somebody held a lock through all tries.
        """

        def work() -> bool:
            history.create(self.connection)
            known = history.has(self.connection, migration.version)
            if known and not again:
                return False
            beforehand.before(self.connection, migration.version, take_over=take_over)
            self.connection.execute(migration.up_sql.encode())
            if not known:
                history.record(self.connection, migration)
            return True

        with in_our_words(migration.label):
            return self.transactions.run(self.connection, work)

    def adopt(self, migrations: Sequence[Migration]) -> None:
        """Enter into the history what the Supabase CLI has applied, so that it can be taken back.

        Raises:
            LockNotObtained: Another runner did not end.
        """

        def work() -> None:
            history.create(self.connection)
            for migration in migrations:
                if not history.has(self.connection, migration.version):
                    history.record(self.connection, migration, applied_by=history.SUPABASE_CLI)

        if migrations:
            self.transactions.run(self.connection, work)

    def take_back(self, applied: Applied, *, drop_data: bool) -> bool:
        """Take back one applied migration and return True; False where another runner was faster.

        Raises:
            MigrationFailed: It could not be taken back, and stays applied.
            LockNotObtained: Somebody held a lock through all tries.
        """

        def work() -> bool:
            if not history.has(self.connection, applied.version):
                return False
            self.connection.execute("select set_config('velro.drop_data', %s, true)", ("on" if drop_data else "off",))
            self.connection.execute(applied.down_sql.encode())
            history.forget(self.connection, applied.version)
            return True

        with in_our_words(applied.label):
            return self.transactions.run(self.connection, work)


@contextmanager
def in_our_words(label: str) -> Iterator[None]:
    """Put what goes wrong with a migration into our words, for the length of a block.

    Raises:
        MigrationRefused: It will not touch what it found.
        MigrationFailed: It failed.
    """
    try:
        yield
    except errors.DependentObjectsStillExist as error:
        raise MigrationFailed(f"{label}: {_sentence(error)}; drop what depends on it first") from error
    except PASSING:
        raise
    except psycopg.Error as error:
        if error.sqlstate == REFUSED:
            raise MigrationRefused(f"{label}: {_sentence(error)}") from error
        if error.sqlstate is None:
            raise  # the connection broke
        raise MigrationFailed(f"{label} failed and was taken back: {_sentence(error)} ({error.sqlstate})") from error


def _sentence(error: psycopg.Error) -> str:
    said = error.diag
    parts = (said.message_primary, said.message_detail, said.message_hint)
    return "; ".join(part.rstrip(".") for part in parts if part)
