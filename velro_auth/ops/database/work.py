"""Applies one migration, or takes one back, together with its line in the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors

from velro_auth.ops.database import beforehand, history, rehearsal
from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import MigrationFailed, MigrationRefused
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.history import Applied
from velro_auth.ops.database.rehearsal import Rehearsal
from velro_auth.ops.database.transaction import PASSING, Transactions

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
        try:
            return self._rehearsed(migrations, take_over, shows_warnings=shows_warnings, at_once=True)
        except (MigrationRefused, MigrationFailed):
            # One at a time, which shows the one that does not work.
            return self._rehearsed(migrations, take_over, shows_warnings=False, at_once=False)

    def _rehearsed(
        self, migrations: Sequence[Migration], take_over: Sequence[str], *, shows_warnings: bool, at_once: bool
    ) -> tuple[Rehearsal, Rehearsal]:
        def work() -> None:
            if migrations or take_over:
                history.create(self.connection)
            rehearsal.prepare(self.connection)
            before = rehearsal.rehearse(self.connection)
            if not migrations and not take_over:
                raise _Rehearsed(before, before)
            if shows_warnings:
                self.connection.execute("set local client_min_messages = warning")
            held_back: list[str] = []
            for label, statements in self._pieces(migrations, take_over):
                if at_once and (held_back or beforehand.MIRROR in label):
                    held_back.append(statements)  # from here on sign-ups wait for the end of the transaction
                else:
                    with in_our_words(label):
                        self.connection.execute(statements.encode())
            with in_our_words("the rehearsal"):
                after = rehearsal.rehearse(self.connection, after="".join(held_back))
            raise _Rehearsed(before, after)

        try:
            self.transactions.run(self.connection, work)
        except _Rehearsed as shown:
            return shown.before, shown.after
        raise AssertionError("a rehearsal ends with its own exception")

    def _pieces(self, migrations: Sequence[Migration], take_over: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the labels and the SQL of what is rehearsed."""
        for one in migrations:
            if one.version not in NOT_REHEARSED:
                yield one.label, self._statements(one, take_over)
        if take_over and all(one.version != beforehand.MIRROR for one in migrations):
            yield "db up --adopt", beforehand.renaming(self.connection, take_over)

    def _statements(self, migration: Migration, take_over: Sequence[str]) -> str:
        before = beforehand.statements(self.connection, migration.version, take_over)
        return f"{before}{migration.up_sql}\n;\n"

    def take_over(self, triggers: Sequence[str]) -> None:
        """Let *triggers* of the project fire before ours, which are there already.

        Raises:
            MigrationRefused: A trigger cannot be renamed.
            MigrationFailed: It failed, and was taken back.
            LockNotObtained: Somebody held a lock through all tries.
        """
        with in_our_words("db up --adopt"):
            statements = beforehand.renaming(self.connection, triggers)
            self.transactions.run(self.connection, lambda: self.connection.execute(statements.encode()))

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
            self.connection.execute(self._statements(migration, take_over).encode())
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
