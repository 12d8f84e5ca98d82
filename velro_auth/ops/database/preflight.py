"""Checks, before anything is changed, whether the migrations can be applied to this database by this role."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from velro_auth.ops.database import rehearsal
from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import DatabaseError, MigrationRefused
from velro_auth.ops.database.executor import MIRROR, Executor
from velro_auth.ops.database.files import Migration, package_sql
from velro_auth.ops.database.rehearsal import Regression, Rehearsal, Trigger


def check(connection: Connection, *, changes: bool = True) -> None:
    """Check that the migrations can be applied here, or at least be read.

    Raises:
        DatabaseError: Not the database of a Supabase project, a read-only copy, or too old; the schema velro_auth
            belongs to another role; the role lacks a right that the migrations need.
    """
    for sentence, prevents in _problems(connection):
        if prevents == "all" or (changes and prevents == "changes"):
            raise DatabaseError(sentence)


def rehearsal_blocker(connection: Connection) -> str:
    """Return why this role cannot rehearse the migrations, as a sentence; empty where it can."""
    return next((sentence for sentence, _ in _problems(connection)), "")


def _problems(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(package_sql("database/requirements").encode())
    return [(str(sentence), str(prevents)) for sentence, prevents in rows]


def to_adopt(
    executor: Executor,
    migrations: Sequence[Migration],
    *,
    adopts: bool,
    rehearse: bool,
    shows_warnings: bool,
    on_notice: Callable[[str], None],
) -> list[str]:
    """Return the triggers of the project that have to be adopted: renamed, so that they fire before ours.

    Only with *adopts* may there be any. Without *rehearse*, only the catalogue is read. *on_notice* is told why a role
    cannot rehearse; *shows_warnings* passes on the warnings of the migrations in the rehearsal.

    Raises:
        MigrationRefused: Something conflicts with the migrations; the sentence names it and what to do.
        MigrationFailed: A migration would fail.
        DatabaseError: Another session held a lock through all tries.
    """
    try:
        chosen = _conflicting_triggers(executor.connection, migrations, adopts=adopts)
        if rehearse and (migrations or adopts):
            if blocker := rehearsal_blocker(executor.connection):
                on_notice(f"Not rehearsed, so up may still refuse: {blocker}")
            else:
                _rehearse(executor, migrations, chosen, adopts=adopts, shows_warnings=shows_warnings)
    except MigrationRefused as error:
        raise MigrationRefused(f"{error}. Nothing was changed") from error
    return chosen


def _rehearse(
    executor: Executor, migrations: Sequence[Migration], chosen: list[str], *, adopts: bool, shows_warnings: bool
) -> None:
    """Rehearse sign-ups before and after, and add to *chosen* the triggers that have to be adopted as well."""
    while regression := _regression(
        *executor.rehearse(migrations, adopt=chosen, shows_warnings=shows_warnings), adopts=adopts
    ):
        trigger = regression.trigger
        if not adopts or trigger is None or not _can_be_adopted(trigger, chosen):
            raise MigrationRefused(regression.sentence)
        chosen.append(trigger.name)


def _conflicting_triggers(connection: Connection, migrations: Sequence[Migration], *, adopts: bool) -> list[str]:
    """Return the triggers that have one of our names, or insert a row that our trigger made; only reads.

    A rehearsal does not find each of the second kind: the project may refuse the rehearsed user, or its trigger
    may do nothing for that user.
    """
    versions = {one.version for one in migrations}
    with connection.transaction():
        connection.execute("set local search_path = ''")
        conflicts = [
            str(sentence)
            for version, sentence in connection.execute(package_sql("database/conflicts").encode())
            if version in versions
        ]
        triggers = rehearsal.triggers(connection) if MIRROR in versions else []
    same_name = [one for one in triggers if one.name in rehearsal.TRIGGER_NAMES]
    same_row = [one for one in triggers if one.inserts_our_row]
    if conflicts:
        raise MigrationRefused(conflicts[0])
    if same_name and not adopts:
        raise MigrationRefused(
            f"auth.users has a trigger {same_name[0].name} of yours, which calls {same_name[0].function}; adopt it"
            ' with "velro-auth db up --adopt": it then fires before ours'
        )
    if same_row and not adopts:
        raise MigrationRefused(
            f"The trigger {same_row[0].name}, which calls {same_row[0].function}, inserts into public.users after"
            ' our trigger made the row, so sign-ups would fail; adopt it with "velro-auth db up --adopt": it then'
            ' fires before ours; or let it insert with "on conflict (id) do nothing"'
        )
    return [one.name for one in (*same_name, *same_row)]


def _regression(before: Rehearsal, after: Rehearsal, *, adopts: bool) -> Regression | None:
    for regression in after.regressions_since(before):
        return regression
    if adopts:
        # Our triggers may be applied already, and a trigger that fires after them has failed since then.
        for failure in after.failures():
            if failure.is_ours and failure.trigger is not None and _can_be_adopted(failure.trigger, ()):
                return failure
    return None


def _can_be_adopted(trigger: Trigger, chosen: Sequence[str]) -> bool:
    return trigger.name not in chosen and trigger.fires_after_ours
