"""What is done in the transaction of a migration, before its SQL: what only the runner can know or decide."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from psycopg import sql

from velro_auth.ops.database import sqlfiles
from velro_auth.ops.database.connection import Connection

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
select coalesce(min(u.position), 1) - 1, {migration}, {subject}, {statement}, false from velro_auth.undo u
on conflict (migration, subject) do nothing
"""


def statements(connection: Connection, version: str, take_over: Sequence[str]) -> str:
    """Return the SQL that belongs before that of the migration *version*, in its transaction; often none.

    Args:
        connection: For whose server the names are quoted.
        version: The migration that comes next.
        take_over: Triggers of the project on ``auth.users`` that shall fire before ours.
    """
    if version == USERS:
        return sqlfiles.read("keep_columns") + ";\n"
    return renaming(connection, take_over) if version == MIRROR else ""


def renaming(connection: Connection, triggers: Sequence[str]) -> str:
    """Return the SQL that gives *triggers* names that fire before ours, and notes the way back."""
    parts: list[str] = []
    for name in triggers:
        adopted = adopted_name(name)
        note = sql.SQL(_NOTE).format(
            migration=sql.Literal(MIRROR),
            subject=sql.Literal(f"trigger {name} on auth.users"),
            statement=sql.Literal(_renamed(connection, adopted, name)),
        )
        parts += [note.as_string(connection), _renamed(connection, name, adopted)]
    return ";\n".join([*parts, ""])


def adopted_name(name: str) -> str:
    """Return the name under which the trigger *name* fires before ours, in the order among its kind."""
    wanted = PREFIX + name
    if len(wanted.encode()) <= _LONGEST:
        return wanted
    kept = wanted.encode()[: _LONGEST - 9].decode(errors="ignore")
    return f"{kept}_{sha256(name.encode()).hexdigest()[:8]}"


def _renamed(connection: Connection, former: str, wanted: str) -> str:
    text = sqlfiles.read("take_over")
    for token, name in (("$former$", former), ("$wanted$", wanted)):
        text = text.replace(token, sql.Literal(name).as_string(connection))
    return text
