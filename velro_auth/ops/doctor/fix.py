"""``--fix``: brings the database back to what the migrations say, in one transaction, with the way back on disk.

The file is complete and on the disk before the transaction is committed: there is no moment at which something has
changed and the file is not there. Where it cannot be written nothing is changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from velro_auth.ops.database import Difference, files, history, preflight
from velro_auth.ops.database.catalogue import differences
from velro_auth.ops.database.connection import Connection, Transactions, connected
from velro_auth.ops.database.errors import MigrationRefused, UnknownMigration
from velro_auth.ops.database.executor import translated_errors
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.plan import MigrationPlan, State
from velro_auth.ops.doctor import rows, state
from velro_auth.ops.doctor.schema import topic
from velro_auth.ops.doctor.undo_file import UndoFile

#: What is not mended from here: data would be deleted, or a migration is to be applied.
_LEFT_ALONE: Final = frozenset({"database.migrations", "database.orphans"})
_ROWS: Final = frozenset({"database.missing_rows", "database.outdated_rows"})

#: A label cannot be used in the transaction that adds it.
_LABEL: Final = "label viewer of public.user_role"

#: Triggers that somebody switched off, with the function that each calls and whether its table is ours to change.
_SWITCHED_OFF: Final = """
select t.tgname, t.tgrelid::regclass::text, t.tgfoid::regprocedure::text, pg_has_role(c.relowner, 'usage')
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where not t.tgisinternal and t.tgenabled <> 'O' and t.tgname = any (%s)
  and (n.nspname = 'velro_auth' or p.proname = 'handle_new_auth_user')
"""
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
    """Takes the transaction back."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What ``--fix`` did.

    Attributes:
        changes: What was changed, one line each.
        remarks: What was left alone, and what to do about it.
        rollback_file: Where the way back is; None where nothing was changed.
    """

    changes: Sequence[str] = ()
    remarks: Sequence[str] = ()
    rollback_file: Path | None = None


def wanted(dsn: str) -> list[Difference]:
    """Return what ``mend`` would mend; nothing is changed.

    Raises:
        DatabaseError: The database cannot be asked, or will not do; or no migration is applied.
    """
    with connected(dsn, lambda _: None) as connection:
        preflight.check(connection)
        plan = _plan(connection)
        _applied(plan)
        return _mendable(connection, plan)


def mend(
    dsn: str,
    *,
    folder: Path,
    now: Callable[[], dt.datetime] = dt.datetime.now,
    transactions: Transactions | None = None,
) -> Mended:
    """Mend the database of *dsn*, and write the way back into *folder*.

    Raises:
        CannotWrite: The file cannot be written; nothing was changed.
        MigrationEdited: A file was changed after it was applied.
        MigrationRefused: A migration will not touch what it found; nothing was changed.
        MigrationFailed: A migration failed; nothing was changed.
        LockNotObtained: Somebody held a lock through all tries; nothing was changed.
        DatabaseError: The database cannot be asked, or will not do; or no migration is applied.
    """
    file = UndoFile(folder.absolute() / f"doctor_rollback_{now():%Y%m%d_%H%M%S}.sql")
    with connected(dsn, lambda _: None) as connection, file.kept_if_committed(connection):
        preflight.check(connection)
        plan = _plan(connection)
        plan.refuse_edited()
        migrations = _applied(plan)
        try:
            with translated_errors("doctor --fix"):
                return (transactions or Transactions()).run(
                    connection, lambda: _mend(connection, plan, migrations, file)
                )
        except _NothingToDo as nothing:
            file.discard()
            return Mended(remarks=nothing.args)


def _mend(connection: Connection, plan: MigrationPlan, migrations: Sequence[Migration], file: UndoFile) -> Mended:
    found = _mendable(connection, plan)
    before = state.take(connection)
    if {topic(one) for one in found} - _ROWS:
        _mend_objects(connection, migrations, found)
    mirrored = rows.mirror(connection) if _can_mirror(connection) else rows.Rows()
    after = state.take(connection)
    changes = state.changes(before, after)
    if mirrored.made or mirrored.changed:
        changes.append(f"rows of public.users: {mirrored.made} made, {mirrored.changed} brought up to date")
    remarks = [remark for remark in (mirrored.remark, _pending(plan)) if remark]
    if not changes:
        raise _NothingToDo(*remarks)
    file.write([*mirrored.way_back, *state.way_back(before, after)])
    return Mended(changes, remarks, file.path)


def _mend_objects(connection: Connection, migrations: Sequence[Migration], found: Sequence[Difference]) -> None:
    """Run the applied migrations once more: each brings its objects back to what it says."""
    if any(one.subject == _LABEL for one in found):
        raise MigrationRefused("The type public.user_role has lost its label viewer; run velro-auth db up --again")
    lost = list(_switch_on(connection))
    for migration in migrations:
        with translated_errors(migration.label):
            connection.execute(migration.up_sql.encode())
    for definition in lost:
        connection.execute(definition.encode())


def _switch_on(connection: Connection) -> Iterator[str]:
    """Switch our triggers on; return those of others that went with a function and have to come back.

    Only the owner of auth.users can switch its triggers. Dropping their function takes them along, and the
    migrations make both anew.
    """
    for name, table, function, is_ours in list(connection.execute(_SWITCHED_OFF, (list(_TRIGGERS),))):
        if is_ours:
            connection.execute(f'alter table {table} enable trigger "{name}"'.encode())
        else:
            yield from [str(row[0]) for row in connection.execute(_OTHERS, (function, name))]
            connection.execute(f"drop function {function} cascade".encode())


def _plan(connection: Connection) -> MigrationPlan:
    return MigrationPlan(files.load(files.shipped()), history.read(connection), history.cli_versions(connection))


def _applied(plan: MigrationPlan) -> list[Migration]:
    found = [one for one in plan.migrations if plan.state_of(one.version) is not State.PENDING]
    if not found:
        raise UnknownMigration("No migration is applied, so there is nothing to mend; run velro-auth db up")
    return found


def _pending(plan: MigrationPlan) -> str:
    found = [one.label for one in plan.statuses() if one.state is State.PENDING]
    return f"what {', '.join(found)} brings is not mended here: run velro-auth db up" if found else ""


def _mendable(connection: Connection, plan: MigrationPlan) -> list[Difference]:
    found = differences(connection, plan.statuses())
    return [one for one in found if not one.is_remark and topic(one) not in _LEFT_ALONE]


def _can_mirror(connection: Connection) -> bool:
    row = connection.execute("select to_regprocedure('velro_auth.mirror_users(uuid[])') is not null").fetchone()
    return bool(row and row[0])
