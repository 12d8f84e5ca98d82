"""Compares the live database with what the migrations say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.plan import State, Status

#: What the names of things begin with that a project may have beside ours.
_THEIRS: Final = "policy "

#: What the names of columns begin with; without all of them users cannot be compared.
_COLUMN: Final = "column public.users."

_MISSING: Final = "missing"

#: One row per kind of user that one side has and the other has not, with its number.
_USERS: Final = """
select count(*) filter (where u.id is null),
       count(*) filter (where a.id is null),
       count(*) filter (where a.id is not null and u.id is not null and a.deleted_at is null
                        and u.email::text is distinct from a.email::text),
       count(*) filter (where a.id is not null and u.id is not null and a.deleted_at is not null
                        and num_nonnulls(u.email, u.display_name, u.avatar_url) > 0)
from auth.users a full join public.users u on u.id = a.id
"""
_USER_KINDS: Final = (
    "users without a row in public.users",
    "rows of public.users without a user in auth.users",
    "rows of public.users with another mail than auth.users",
    "rows of public.users that still hold data of a deleted user",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the migrations say.

    Attributes:
        subject: What: a function's body, a policy, somebody's rights, users without a row.
        expected: What the migrations say.
        found: What the database has.
        is_remark: It is the project's own affair and worth knowing, not wrong.
    """

    subject: str
    expected: str
    found: str
    is_remark: bool = False


def snapshot(connection: Connection) -> dict[str, str]:
    """Return what the database has of ours: a readable name → a readable value."""
    query = resources.files("velro_auth.ops.database").joinpath("catalogue.sql").read_bytes()
    with connection.transaction():
        connection.execute("set local search_path = ''")
        return {str(name): str(value) for name, value in connection.execute(query)}


def expected() -> dict[str, str]:
    """Return the snapshot of a new project after all migrations, as it was recorded with them."""
    recorded = resources.files("velro_auth.ops.database").joinpath("catalogue.json").read_text("utf-8")
    return {str(name): str(value) for name, value in json.loads(recorded).items()}


def differences(connection: Connection, statuses: Sequence[Status]) -> list[Difference]:
    """Return what is not as it should be: migrations, objects, rights, and users on one side only."""
    objects = compare(expected(), snapshot(connection))
    is_complete = not any(one.subject.startswith(_COLUMN) for one in objects)
    return [*_migrations(statuses), *objects, *(_users(connection) if is_complete else ())]


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Return the differences of two snapshots; another policy is a remark, since a project may have its own."""
    return [
        Difference(
            name,
            wanted.get(name, _MISSING),
            found.get(name, _MISSING),
            is_remark=name not in wanted and name.startswith(_THEIRS),
        )
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def _migrations(statuses: Sequence[Status]) -> list[Difference]:
    return [
        Difference(f"migration {one.label}", State.APPLIED.value, one.state.value, is_remark=one.state is State.NEWER)
        for one in statuses
        if one.state is not State.APPLIED
    ]


def _users(connection: Connection) -> list[Difference]:
    counts = connection.execute(_USERS).fetchone() or ()
    return [Difference(kind, "0", str(count)) for kind, count in zip(_USER_KINDS, counts, strict=True) if count]
