"""Applies, rehearses and rolls back migrations on one connection, each with its history row in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import psycopg
from psycopg import errors, sql

from velro_auth.ops.database import history, rehearsal
from velro_auth.ops.database.connection import TRANSIENT, Connection, Transactions
from velro_auth.ops.database.errors import MigrationFailed, MigrationRefused
from velro_auth.ops.database.files import Migration, package_sql
from velro_auth.ops.database.history import Applied
from velro_auth.ops.database.rehearsal import Rehearsal

#: The SQLSTATE by which our migrations refuse what they found.
REFUSED: Final = "VA001"

#: The migration that replaces the grants on public.users.
USERS: Final = "20261122100200"

#: The migration that creates the triggers on auth.users; its down file gives adopted triggers their former names.
MIRROR: Final = "20261122100300"

#: The validation reads every row, which takes too long for a rehearsal that blocks sign-ups; it refuses nothing.
NOT_REHEARSED: Final = frozenset({"20261122100400"})

#: Triggers fire in the order of their names: this comes before ours, which then finds the row and keeps it.
ADOPTED_PREFIX: Final = "on_auth_user_adopted_"

#: The longest identifier of PostgreSQL.
_MAX_NAME_BYTES: Final = 63

#: Stored before all other undo statements, so that it runs last, when our trigger no longer has the name.
_UNDO_RENAME: Final = """
insert into velro_auth.undo (position, migration, subject, statement, drops_data)
select coalesce(min(u.position), 1) - 1, {migration}, {subject}, {statement}, false from velro_auth.undo u
on conflict (migration, subject) do nothing
"""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs migrations on a connection.

    Each method may raise ``MigrationRefused`` (a migration refused what it found), ``MigrationFailed`` (it failed, and
    was rolled back) or ``DatabaseError`` (another session held a lock through all tries).
    """

    connection: Connection
    transactions: Transactions

    def rehearse(
        self, migrations: Sequence[Migration], *, adopt: Sequence[str] = (), shows_warnings: bool = False
    ) -> tuple[Rehearsal, Rehearsal]:
        """Return what works for a user before and after *migrations*; everything is rolled back.

        Without *migrations*, the present state is rehearsed only. *adopt*: triggers of the project that shall fire
        before ours.
        """
        try:
            return self._rehearse(migrations, adopt, shows_warnings=shows_warnings, in_one_call=True)
        except (MigrationRefused, MigrationFailed):
            # One statement at a time, to name the migration that does not work.
            return self._rehearse(migrations, adopt, shows_warnings=False, in_one_call=False)

    def _rehearse(
        self, migrations: Sequence[Migration], adopt: Sequence[str], *, shows_warnings: bool, in_one_call: bool
    ) -> tuple[Rehearsal, Rehearsal]:
        def body() -> tuple[Rehearsal, Rehearsal]:
            if migrations or adopt:
                history.create(self.connection)
            rehearsal.prepare(self.connection)
            before = rehearsal.rehearse(self.connection)
            if not migrations and not adopt:
                return before, before
            if shows_warnings:
                self.connection.execute("set local client_min_messages = warning")
            deferred: list[str] = []
            for label, statements in self._rehearsed_sql(migrations, adopt):
                if in_one_call and (deferred or MIRROR in label):
                    deferred.append(statements)  # from here on sign-ups wait for the end of the transaction
                else:
                    with translated_errors(label):
                        self.connection.execute(statements.encode())
            with translated_errors("the rehearsal"):
                after = rehearsal.rehearse(self.connection, first="".join(deferred))
            return before, after

        return self.transactions.run(self.connection, body, force_rollback=True)

    def _rehearsed_sql(self, migrations: Sequence[Migration], adopt: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield a label and the SQL for each step of the rehearsal."""
        for one in migrations:
            if one.version not in NOT_REHEARSED:
                yield one.label, self._up_sql(one, adopt)
        if adopt and all(one.version != MIRROR for one in migrations):
            yield "db up --adopt", _adoption_sql(self.connection, adopt)

    def _up_sql(self, migration: Migration, adopt: Sequence[str]) -> str:
        """Return the SQL of *migration*, after the preparation that depends on the project."""
        preparation = ""
        if migration.version == USERS:
            preparation = package_sql("database/keep_column_grants") + ";\n"
        elif migration.version == MIRROR:
            preparation = _adoption_sql(self.connection, adopt)
        return f"{preparation}{migration.up_sql}\n;\n"

    def adopt_triggers(self, triggers: Sequence[str]) -> None:
        """Rename *triggers* of the project so that they fire before ours, which are applied already."""
        with translated_errors("db up --adopt"):
            statements = _adoption_sql(self.connection, triggers)
            self.transactions.run(self.connection, lambda: self.connection.execute(statements.encode()))

    def apply(self, migration: Migration, *, again: bool = False, adopt: Sequence[str] = ()) -> bool:
        """Apply *migration* and return True; False where another runner has applied it meanwhile.

        With *again*, even if it is applied already.
        """

        def body() -> bool:
            history.create(self.connection)
            is_applied = history.has(self.connection, migration.version)
            if is_applied and not again:
                return False
            self.connection.execute(self._up_sql(migration, adopt).encode())
            if not is_applied:
                history.record(self.connection, migration)
            return True

        with translated_errors(migration.label):
            return self.transactions.run(self.connection, body)

    def record_cli_migrations(self, migrations: Sequence[Migration]) -> None:
        """Copy what the Supabase CLI has applied into our history, so that it can be rolled back."""

        def body() -> None:
            history.create(self.connection)
            for migration in migrations:
                if not history.has(self.connection, migration.version):
                    history.record(self.connection, migration, applied_by=history.SUPABASE_CLI)

        if migrations:
            self.transactions.run(self.connection, body)

    def roll_back(self, applied: Applied, *, drop_data: bool) -> bool:
        """Roll back one applied migration and return True; False where another runner has done so meanwhile."""

        def body() -> bool:
            if not history.has(self.connection, applied.version):
                return False
            self.connection.execute("select set_config('velro.drop_data', %s, true)", ("on" if drop_data else "off",))
            self.connection.execute(applied.down_sql.encode())
            history.delete(self.connection, applied.version)
            return True

        with translated_errors(applied.label):
            return self.transactions.run(self.connection, body)


def adopted_name(trigger: str) -> str:
    """Return the name under which *trigger* fires before ours; adopted triggers keep their order."""
    wanted = ADOPTED_PREFIX + trigger
    if len(wanted.encode()) <= _MAX_NAME_BYTES:
        return wanted
    kept = wanted.encode()[: _MAX_NAME_BYTES - 9].decode(errors="ignore")
    return f"{kept}_{sha256(trigger.encode()).hexdigest()[:8]}"


def _adoption_sql(connection: Connection, triggers: Sequence[str]) -> str:
    """Return the SQL that renames *triggers* so that they fire before ours, and stores how to undo it."""
    parts: list[str] = []
    for name in triggers:
        adopted = adopted_name(name)
        undo = sql.SQL(_UNDO_RENAME).format(
            migration=sql.Literal(MIRROR),
            subject=sql.Literal(f"trigger {name} on auth.users"),
            statement=sql.Literal(_rename_sql(connection, adopted, name)),
        )
        parts += [undo.as_string(connection), _rename_sql(connection, name, adopted)]
    return ";\n".join([*parts, ""])


def _rename_sql(connection: Connection, former: str, wanted: str) -> str:
    text = package_sql("database/rename_trigger")
    for token, name in (("$former$", former), ("$wanted$", wanted)):
        text = text.replace(token, sql.Literal(name).as_string(connection))
    return text


@contextmanager
def translated_errors(label: str) -> Iterator[None]:
    """Translate the database errors of a block into ours.

    Raises:
        MigrationRefused: The migration refused what it found.
        MigrationFailed: It failed.
    """
    try:
        yield
    except errors.DependentObjectsStillExist as error:
        raise MigrationFailed(f"{label}: {_sentence(error)}; drop what depends on it first") from error
    except TRANSIENT:
        raise
    except psycopg.Error as error:
        if error.sqlstate == REFUSED:
            raise MigrationRefused(f"{label}: {_sentence(error)}") from error
        if error.sqlstate is None:
            raise  # the connection broke
        raise MigrationFailed(f"{label} failed and was rolled back: {_sentence(error)} ({error.sqlstate})") from error


def _sentence(error: psycopg.Error) -> str:
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    return "; ".join(part.rstrip(".") for part in parts if part)
