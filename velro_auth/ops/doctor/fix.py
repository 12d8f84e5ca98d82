"""``doctor --fix``: brings the database back to what the migrations say, in one transaction, with an undo file.

The undo file is complete and on the disk before the transaction is committed. Where it cannot be written, nothing is
changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from velro_auth.ops.database import Difference, Runner
from velro_auth.ops.database.catalogue import differences
from velro_auth.ops.database.connection import TRANSIENT, Connection, Transactions
from velro_auth.ops.database.errors import DatabaseError, MigrationRefused
from velro_auth.ops.database.executor import translated_errors
from velro_auth.ops.database.files import Migration, package_sql
from velro_auth.ops.database.plan import MigrationPlan, State
from velro_auth.ops.doctor import undo
from velro_auth.ops.doctor.schema import topic
from velro_auth.ops.doctor.undo import UndoFile

#: Not fixed here: rows would be deleted, or a migration applied.
_NOT_FIXED: Final = frozenset({"database.migrations", "database.orphans"})
_ROWS: Final = frozenset({"database.missing_rows", "database.outdated_rows"})

#: A label cannot be used in the transaction that adds it.
_LABEL: Final = "label viewer of public.user_role"

_TRIGGERS: Final = (
    "on_auth_user_created",
    "on_auth_user_changed",
    "velro_auth_guard_user",
    "velro_auth_guard_truncate",
)
_OTHERS: Final = """
select pg_get_triggerdef(t.oid) from pg_trigger t
where t.tgfoid = %s::regprocedure and not t.tgisinternal and t.tgname <> %s and t.tgenabled = 'O'
"""


class _NothingToDo(Exception):
    """Rolls the transaction back."""


@dataclass(frozen=True, slots=True)
class FixResult:
    """What ``--fix`` did.

    Attributes:
        rollback_file: The undo file; None where nothing was changed.
    """

    changes: Sequence[str] = ()
    remarks: Sequence[str] = ()
    rollback_file: Path | None = None


def preview(dsn: str) -> list[Difference]:
    """Return what ``apply`` would fix; changes nothing.

    Raises:
        DatabaseError: The database cannot be reached or refuses this role; or no migration is applied.
    """
    runner = Runner(dsn)
    with runner.connected() as connection:
        plan = runner.plan_on(connection)
        _applied(plan)
        return _fixable(connection, plan)


def apply(
    dsn: str,
    *,
    folder: Path,
    now: Callable[[], dt.datetime] = dt.datetime.now,
    transactions: Transactions | None = None,
) -> FixResult:
    """Fix the database of *dsn*, and write the undo file into *folder*.

    Raises:
        DatabaseError: The file cannot be written, a migration's file was changed after it was applied, a migration
            refused what it found or failed, another session held a lock through all tries, the database cannot be
            reached or refuses this role, or no migration is applied. Nothing was changed.
    """
    file = UndoFile(folder.absolute() / f"doctor_rollback_{now():%Y%m%d_%H%M%S}.sql")
    runner = Runner(dsn, transactions=transactions or Transactions())
    with runner.connected() as connection, file.kept_if_committed(connection):
        plan = runner.plan_on(connection)
        plan.refuse_edited()
        migrations = _applied(plan)
        try:
            with translated_errors("doctor --fix"):
                return runner.transactions.run(connection, lambda: _fix(connection, plan, migrations, file))
        except _NothingToDo as nothing:
            file.discard()
            return FixResult(remarks=nothing.args)


def _fix(connection: Connection, plan: MigrationPlan, migrations: Sequence[Migration], file: UndoFile) -> FixResult:
    found = _fixable(connection, plan)
    before = undo.snapshot(connection)
    if {topic(one) for one in found} - _ROWS:
        _fix_objects(connection, migrations, found)
    mirrored = _mirror_rows(connection) if _can_mirror(connection) else _Rows()
    after = undo.snapshot(connection)
    changes = undo.changes(before, after)
    if mirrored.made or mirrored.changed:
        changes.append(f"rows of public.users: {mirrored.made} made, {mirrored.changed} brought up to date")
    remarks = [remark for remark in (mirrored.remark, _pending(plan)) if remark]
    if not changes:
        raise _NothingToDo(*remarks)
    file.write([*mirrored.undo, *undo.statements(before, after)])
    return FixResult(changes, remarks, file.path)


def _fix_objects(connection: Connection, migrations: Sequence[Migration], found: Sequence[Difference]) -> None:
    """Run the applied migrations once more, which restores their objects."""
    if any(one.subject == _LABEL for one in found):
        raise MigrationRefused("The type public.user_role has lost its label viewer; run velro-auth db up --again")
    lost = list(_switch_on(connection))
    for migration in migrations:
        with translated_errors(migration.label):
            connection.execute(migration.up_sql.encode())
    for definition in lost:
        connection.execute(definition.encode())


def _switch_on(connection: Connection) -> Iterator[str]:
    """Switch our triggers on; yield the other triggers that were dropped with a function and have to be created again.

    Only the owner of auth.users can switch its triggers on. But this role may drop their function with them, and the
    migrations create both again.
    """
    for name, table, function, is_ours in list(
        connection.execute(package_sql("doctor/switched_off").encode(), (list(_TRIGGERS),))
    ):
        if is_ours:
            connection.execute(f'alter table {table} enable trigger "{name}"'.encode())
        else:
            yield from [str(row[0]) for row in connection.execute(_OTHERS, (function, name))]
            connection.execute(f"drop function {function} cascade".encode())


def _applied(plan: MigrationPlan) -> list[Migration]:
    found = [one for one in plan.migrations if plan.state_of(one.version).is_applied]
    if not found:
        raise DatabaseError("No migration is applied, so there is nothing to fix; run velro-auth db up")
    return found


def _pending(plan: MigrationPlan) -> str:
    found = [one.label for one in plan.statuses() if one.state is State.PENDING]
    return f"what {', '.join(found)} brings is not fixed here: run velro-auth db up" if found else ""


def _fixable(connection: Connection, plan: MigrationPlan) -> list[Difference]:
    found = differences(connection, plan.statuses())
    return [one for one in found if not one.is_remark and topic(one) not in _NOT_FIXED]


def _can_mirror(connection: Connection) -> bool:
    row = connection.execute("select to_regprocedure('velro_auth.mirror_users(uuid[])') is not null").fetchone()
    return bool(row and row[0])


#: The most rows of one transaction, for which sign-ups wait: so many take a third of a second.
MOST_ROWS: Final = 5000

BACKFILL: Final = "run 'velro-auth db backfill', which fixes rows in batches and names those that cannot be written"

#: The columns that the mirror may change in an existing row.
_COLUMNS: Final = ("email", "display_name", "avatar_url", "is_active", "updated_at")

_Image: TypeAlias = Mapping[UUID, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The changes to rows.

    *undo* are the statements that restore them, *remark* why some were not changed.
    """

    made: int = 0
    changed: int = 0
    remark: str = ""
    undo: Sequence[str] = ()


def _mirror_rows(connection: Connection) -> _Rows:
    """Mirror the users whose rows are missing or outdated, inside the caller's transaction."""
    # No other session can write until the end, so new rows are ours.
    connection.execute("lock table public.users in share row exclusive mode")
    ids = [row[0] for row in connection.execute(package_sql("doctor/missing_or_outdated").encode(), (MOST_ROWS + 1,))]
    if not ids:
        return _Rows()
    if len(ids) > MOST_ROWS:
        return _Rows(remark=f"more than {MOST_ROWS} rows are missing or outdated: {BACKFILL}")
    before = _image(connection, ids)
    try:
        with connection.transaction():
            connection.execute("select velro_auth.mirror_users(%s)", (ids,))
    except TRANSIENT:
        raise
    except psycopg.errors.IntegrityError as error:
        # Without the database's message, which would quote a row.
        return _Rows(remark=f"a constraint of the table refuses rows ({error.diag.constraint_name}): {BACKFILL}")
    after = _image(connection, ids)
    made = [key for key in after if key not in before]
    changed = {key: before[key] for key in after if key in before and before[key] != after[key]}
    return _Rows(len(made), len(changed), undo=_undo_statements(connection, made, changed))


def _image(connection: Connection, ids: Sequence[object]) -> _Image:
    query = sql.SQL("select id, {} from public.users where id = any (%s)").format(_names())
    return {row[0]: row[1:] for row in connection.execute(query, (list(ids),)) if isinstance(row[0], UUID)}


def _undo_statements(connection: Connection, made: Sequence[UUID], changed: _Image) -> list[str]:
    statements: list[sql.Composable] = []
    if made:
        ids = sql.SQL(", ").join(map(sql.Literal, made))
        statements.append(sql.SQL("delete from public.users where id in ({})").format(ids))
    for key, values in changed.items():
        old = sql.SQL(", ").join(map(sql.Literal, values))
        statements.append(
            sql.SQL("update public.users set ({}) = row ({}) where id = {}").format(_names(), old, sql.Literal(key))
        )
    return [statement.as_string(connection) for statement in statements]


def _names() -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
