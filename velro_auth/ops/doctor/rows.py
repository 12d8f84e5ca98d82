"""Mends rows of ``public.users``, and knows how to take that back to the last column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from velro_auth.ops.database.connection import TRANSIENT, Connection

#: What is mended in one transaction. Sign-ups wait for its end: so many rows take a third of a second.
MOST_ROWS: Final = 5000

BACKFILL: Final = "run 'velro-auth db backfill', which mends rows in batches and names those that cannot be written"

#: What the mirror may change of a row that is there.
_COLUMNS: Final = ("email", "display_name", "avatar_url", "is_active", "updated_at")

_UNFAITHFUL: Final = """
select a.id from auth.users a left join public.users u on u.id = a.id
where u.id is null
   or (a.deleted_at is null and u.email::text is distinct from a.email::text)
   or (a.deleted_at is not null and num_nonnulls(u.email, u.display_name, u.avatar_url) > 0)
order by a.id limit %s
"""

_Image: TypeAlias = Mapping[UUID, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Rows:
    """What was done to rows.

    Attributes:
        made: How many were inserted.
        changed: How many were brought up to date.
        remark: Why some were left alone; empty when none was.
        way_back: The statements that take it back.
    """

    made: int = 0
    changed: int = 0
    remark: str = ""
    way_back: Sequence[str] = ()


def mirror(connection: Connection) -> Rows:
    """Mirror the users whose rows are missing or outdated, inside the caller's transaction."""
    # Until the end nobody else writes here, so that what is new afterwards is ours.
    connection.execute("lock table public.users in share row exclusive mode")
    ids = [row[0] for row in connection.execute(_UNFAITHFUL, (MOST_ROWS + 1,))]
    if not ids:
        return Rows()
    if len(ids) > MOST_ROWS:
        return Rows(remark=f"more than {MOST_ROWS} rows are missing or outdated: {BACKFILL}")
    before = _image(connection, ids)
    try:
        with connection.transaction():
            connection.execute("select velro_auth.mirror_users(%s)", (ids,))
    except TRANSIENT:
        raise
    except psycopg.errors.IntegrityError as error:
        # The database's own words would quote a row.
        return Rows(remark=f"a constraint of the table refuses rows ({error.diag.constraint_name}): {BACKFILL}")
    after = _image(connection, ids)
    made = [key for key in after if key not in before]
    changed = {key: before[key] for key in after if key in before and before[key] != after[key]}
    return Rows(len(made), len(changed), way_back=_way_back(connection, made, changed))


def _image(connection: Connection, ids: Sequence[object]) -> _Image:
    query = sql.SQL("select id, {} from public.users where id = any (%s)").format(_names())
    return {row[0]: row[1:] for row in connection.execute(query, (list(ids),)) if isinstance(row[0], UUID)}


def _way_back(connection: Connection, made: Sequence[UUID], changed: _Image) -> list[str]:
    statements: list[sql.Composable] = []
    if made:
        ids = sql.SQL(", ").join(map(sql.Literal, made))
        statements.append(sql.SQL("delete from public.users where id in ({})").format(ids))
    for key, values in changed.items():
        told = sql.SQL(", ").join(map(sql.Literal, values))
        statements.append(
            sql.SQL("update public.users set ({}) = row ({}) where id = {}").format(_names(), told, sql.Literal(key))
        )
    return [statement.as_string(connection) for statement in statements]


def _names() -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
