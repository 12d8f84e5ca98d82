"""The file with the way back: on the disk before the transaction ends, gone when it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import DatabaseError

_HEAD: Final = """\
-- Rolls back what 'velro-auth doctor --fix' changed. Run it as the role postgres, in the SQL editor or with psql.
-- It holds addresses of users where rows were changed: keep it as you keep the database.
"""


class CannotWrite(DatabaseError):
    """The file with the way back cannot be written, so nothing was changed."""


class UndoFile:
    """A file of SQL that did not exist before and that its owner alone may read.

    Args:
        path: Where it goes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_ours = False

    def write(self, statements: Sequence[str]) -> None:
        """Write it to the disk, as one transaction; once more where a try before met a lock at its end.

        Raises:
            CannotWrite: It cannot be written, or is there already.
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
            raise CannotWrite(f"{self.path} cannot be written ({error.strerror}), so nothing was changed") from error

    @contextmanager
    def kept_if_committed(self, connection: Connection) -> Iterator[None]:
        """Remove it where a block fails, unless the connection broke: nobody knows then whether the commit arrived."""
        try:
            yield
        except Exception:
            if not connection.broken:
                self.discard()
            raise

    def discard(self) -> None:
        """Remove it, if it was written here."""
        if self._is_ours:
            self.path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
