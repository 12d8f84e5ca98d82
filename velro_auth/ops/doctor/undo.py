"""The undo file of ``doctor --fix``, and the SQL in it, from snapshots before and after the fix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, cast

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.files import package_sql
from velro_auth.ops.database.history import exists

_HEAD: Final = """\
-- Rolls back what 'velro-auth doctor --fix' changed. Run it as the role postgres, in the SQL editor or with psql.
-- It holds addresses of users where rows were changed: keep it as you keep the database.
"""


class UndoFile:
    """A new file of SQL that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_ours = False

    def write(self, statements: Sequence[str]) -> None:
        """Write it to the disk, as one transaction; again where the transaction is repeated.

        Raises:
            DatabaseError: It cannot be written, or exists already.
        """
        body = ";\n\n".join(("begin", *statements, "commit"))
        try:
            self.discard()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._is_ours = True
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(f"{_HEAD}\n{body};\n")
                file.flush()
                os.fsync(file.fileno())
            _sync(self.path.parent)
        except OSError as error:
            raise DatabaseError(f"{self.path} cannot be written ({error.strerror}), so nothing was changed") from error

    @contextmanager
    def kept_if_committed(self, connection: Connection) -> Iterator[None]:
        """Remove it where a block fails, unless the connection broke: the commit may have arrived then."""
        try:
            yield
        except Exception:
            if not connection.broken:
                self.discard()
            raise

    def discard(self) -> None:
        """Remove it, if this object wrote it."""
        if self._is_ours:
            self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: The order in which objects are removed, and in which they are restored.
_REMOVED: Final = ("setting", "trigger", "policy", "constraint", "column", "note", "table", "function")
_RESTORED: Final = (
    "function",
    "rights on function",
    "setting",
    "trigger",
    "column",
    "constraint",
    "policy",
    "row level security",
    "rights on table",
    "rights on schema",
    "note",
)


@dataclass(frozen=True, slots=True)
class Item:
    """An object in the database, with the statements that restore and remove it.

    Attributes:
        restore: Restores its present state; None where that is not possible.
        remove: Removes it; None where it is removed with another object.
        function: For triggers and rights: the function they belong to.
    """

    kind: str
    name: str
    restore: str | None
    remove: str | None
    function: str | None

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.name}"


Snapshot: TypeAlias = Mapping[str, Item]


def snapshot(connection: Connection) -> Snapshot:
    """Return the present objects: title → item. Needs an empty search_path."""
    rows = list(connection.execute(package_sql("doctor/state").encode()))
    if exists(connection, "velro_auth", "undo"):
        rows += connection.execute(package_sql("doctor/undo_notes").encode())
    items = [Item(*cast("tuple[str, str, str | None, str | None, str | None]", row)) for row in rows]
    return {item.title: item for item in items}


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what differs, one line for each object."""
    return [
        f"{title}: {'made' if title not in before else 'removed' if title not in after else 'changed'}"
        for title in sorted(before.keys() | after.keys())
        if before.get(title) != after.get(title) and not title.startswith("note ")
    ]


def statements(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the statements that lead from *after* to *before*."""
    changed = {title for title in (*before, *after) if before.get(title) != after.get(title)}
    gone = [
        item for title, item in after.items() if title in changed and (title not in before or item.kind == "trigger")
    ]
    # A trigger that this role cannot drop is dropped with its function, which is then restored.
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
