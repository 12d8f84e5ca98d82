"""Applies one migration, or takes one back, together with its line in the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors

from velro_auth.database import history
from velro_auth.database.connection import Connection
from velro_auth.database.errors import MigrationFailed, MigrationRefused
from velro_auth.database.files import Migration
from velro_auth.database.history import Applied
from velro_auth.database.transaction import PASSING, Transactions

#: The SQLSTATE by which our migrations say that they will not touch what they found.
REFUSED: Final = "VA001"


@dataclass(frozen=True, slots=True)
class Work:
    """What a runner does on its connection.

    Attributes:
        connection: Where.
        transactions: How each piece is run and repeated.
    """

    connection: Connection
    transactions: Transactions

    def apply(self, migration: Migration, *, again: bool = False) -> bool:
        """Apply *migration* and return True; False where another runner was faster.

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
