"""What ``--fix`` may change: taken down before and after, and the way from after to before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, TypeAlias, cast

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.history import exists

#: In which order things are taken away, and in which they come back.
_REMOVED: Final = ("trigger", "policy", "constraint", "column", "note", "table", "function")
_RESTORED: Final = (
    "function",
    "rights on function",
    "trigger",
    "column",
    "constraint",
    "policy",
    "row level security",
    "rights on table",
    "rights on schema",
    "note",
)

#: What the migrations noted, as the statements that put a note back and take it away.
_NOTES: Final = """
select 'note', format('%L of %L', u.subject, u.migration),
       format('insert into velro_auth.undo (position, migration, subject, statement, drops_data)'
              ' values (%s, %L, %L, %L, %L) on conflict do nothing',
              u.position, u.migration, u.subject, u.statement, u.drops_data),
       format('delete from velro_auth.undo where migration = %L and subject = %L', u.migration, u.subject), null
from velro_auth.undo u
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in the database, with the statements that bring it back and take it away.

    Attributes:
        kind: Function, policy, trigger, …
        name: Its name, in full.
        restore: Brings it to the present state; None where it cannot be brought back.
        remove: Takes it away; None where it goes with something else.
        function: For triggers and rights: the function they belong to.
    """

    kind: str
    name: str
    restore: str | None
    remove: str | None
    function: str | None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.kind} {self.name}"


State: TypeAlias = Mapping[str, Item]


def take(connection: Connection) -> State:
    """Return the present state: title → item. Needs an empty search_path."""
    query = resources.files("velro_auth.ops.doctor").joinpath("state.sql").read_bytes()
    rows = list(connection.execute(query))
    if exists(connection, "velro_auth", "undo"):
        rows += connection.execute(_NOTES)
    items = [Item(*cast("tuple[str, str, str | None, str | None, str | None]", row)) for row in rows]
    return {item.title: item for item in items}


def changes(before: State, after: State) -> list[str]:
    """Return what differs, in words."""
    return [
        f"{title}: {'made' if title not in before else 'removed' if title not in after else 'changed'}"
        for title in sorted(before.keys() | after.keys())
        if before.get(title) != after.get(title) and not title.startswith("note ")
    ]


def way_back(before: State, after: State) -> list[str]:
    """Return the statements that lead from *after* to *before*."""
    changed = {title for title in (*before, *after) if before.get(title) != after.get(title)}
    gone = [
        item for title, item in after.items() if title in changed and (title not in before or item.kind == "trigger")
    ]
    # A trigger that cannot be dropped by itself goes with its function, which then comes back.
    replaced = {item.function for item in gone if item.kind == "trigger" and item.remove is None}
    gone += [item for item in after.values() if item.kind == "function" and item.name in replaced]
    back = [
        item
        for title, item in before.items()
        if title in changed or item.function in replaced or (item.kind == "function" and item.name in replaced)
    ]
    removals = dict.fromkeys(item.remove for item in _ordered(gone, _REMOVED) if item.remove)
    return [*removals, *(item.restore for item in _ordered(back, _RESTORED) if item.restore)]


def _ordered(items: Sequence[Item], order: Sequence[str]) -> list[Item]:
    return sorted((item for item in items if item.kind in order), key=lambda item: order.index(item.kind))
