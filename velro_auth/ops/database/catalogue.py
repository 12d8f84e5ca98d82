"""Compares the live database with what the migrations create."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.files import package_sql
from velro_auth.ops.database.plan import State, Status

#: A project may have policies of its own beside ours.
_POLICY: Final = "policy "

#: Without all of our columns the users cannot be compared.
_COLUMN: Final = "column public.users."

_MISSING: Final = "missing"

_USER_KINDS: Final = (
    "users without a row in public.users",
    "rows of public.users without a user in auth.users",
    "rows of public.users with another mail than auth.users",
    "rows of public.users that still hold data of a deleted user",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the live database and the migrations.

    Attributes:
        subject: What differs: a function's body, a policy, the rights of a role, users without a row.
        is_remark: Worth knowing, but not wrong: it belongs to the project.
    """

    subject: str
    expected: str
    found: str
    is_remark: bool = False


def snapshot(connection: Connection) -> dict[str, str]:
    """Return our objects in the database: readable name → readable value."""
    with connection.transaction():
        connection.execute("set local search_path = ''")
        rows = connection.execute(package_sql("database/catalogue").encode())
        return {str(name): str(value) for name, value in rows}


def expected(options: Collection[str] = ()) -> dict[str, str]:
    """Return the recorded snapshot of a new project after all migrations, with those optional ones.

    *options* are the labels of those that are applied.
    """
    recorded = _recorded("catalogue")
    for label, more in _recorded("catalogue_optional").items():
        recorded |= more if label in options else {}
    return {str(name): str(value) for name, value in recorded.items()}


def _recorded(name: str) -> dict[str, Any]:
    text = resources.files("velro_auth.ops.database").joinpath(f"{name}.json").read_text("utf-8")
    return dict(json.loads(text))


def differences(connection: Connection, statuses: Sequence[Status]) -> list[Difference]:
    """Return all differences: migrations, objects, rights, and users that one of the two tables lacks."""
    applied = {one.label for one in statuses if one.state is State.APPLIED}
    objects = compare(expected(applied), snapshot(connection))
    is_complete = not any(one.subject.startswith(_COLUMN) for one in objects)
    return [*_migrations(statuses), *objects, *(_users(connection) if is_complete else ())]


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Return the differences of two snapshots; another policy is a remark, since a project may have its own."""
    return [
        Difference(
            name,
            wanted.get(name, _MISSING),
            found.get(name, _MISSING),
            is_remark=name not in wanted and name.startswith(_POLICY),
        )
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def _migrations(statuses: Sequence[Status]) -> list[Difference]:
    return [
        Difference(f"migration {one.label}", State.APPLIED.value, one.state.value, is_remark=one.state is State.NEWER)
        for one in statuses
        if one.state not in {State.APPLIED, State.NOT_ASKED_FOR}
    ]


def _users(connection: Connection) -> list[Difference]:
    counts = connection.execute(package_sql("database/users_compared").encode()).fetchone() or ()
    return [Difference(kind, "0", str(count)) for kind, count in zip(_USER_KINDS, counts, strict=True) if count]
