"""What is done in the transaction of a migration, before its SQL: what only the runner can know or decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from velro_auth.database import sqlfiles
from velro_auth.database.connection import Connection

#: The migration that replaces the rights on public.users.
USERS: Final = "20261122100200"

#: The migration that brings the triggers on auth.users; taking it back renames what was taken over.
MIRROR: Final = "20261122100300"

#: Triggers fire in the order of their names: this comes before ours, which then finds the row and keeps it.
PREFIX: Final = "on_auth_user_adopted_"

#: Bytes of a name in PostgreSQL.
_LONGEST: Final = 63

#: Noted beneath everything else, so that it is undone last, when our trigger no longer holds the name.
_NOTE: Final = """
insert into velro_auth.undo (position, migration, subject, statement, drops_data)
select coalesce(min(u.position), 1) - 1, %s, %s, %s, false from velro_auth.undo u
on conflict (migration, subject) do nothing
"""


def before(connection: Connection, version: str, *, take_over: Sequence[str]) -> None:
    """Do what belongs before the migration *version*, in its transaction.

    Args:
        connection: Where, inside the transaction.
        version: The migration that comes next.
        take_over: Triggers of the project on ``auth.users`` that shall fire before ours.
    """
    if version == USERS:
        connection.execute(sqlfiles.read("keep_columns").encode())
    if version == MIRROR:
        rename(connection, take_over)


def rename(connection: Connection, triggers: Sequence[str]) -> None:
    """Give *triggers* names that fire before ours, and note the way back. An adopted one stays as it is."""
    for name in triggers:
        adopted = adopted_name(connection, name)
        connection.execute(_NOTE, (MIRROR, f"trigger {name} on auth.users", _renaming(connection, adopted, name)))
        connection.execute(_renaming(connection, name, adopted).encode())


def adopted_name(connection: Connection, name: str) -> str:
    """Return the name under which the trigger *name* fires before ours, in the order among its kind."""
    wanted = PREFIX + name
    if len(wanted.encode()) <= _LONGEST:
        return wanted
    row = connection.execute("select left(md5(%s), 8)", (name,)).fetchone() or ("",)
    kept = wanted.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{kept}_{row[0]}"


def _renaming(connection: Connection, former: str, wanted: str) -> str:
    text = sqlfiles.read("take_over")
    for token, name in (("$former$", former), ("$wanted$", wanted)):
        text = text.replace(token, sql.Literal(name).as_string(connection))
    return text
