"""The migration files: ``<14 digits>_<name>.sql`` with its ``.down.sql``; and the SQL files of ``velro_auth.ops``.

Functions raise ``DatabaseError`` where a folder is missing or empty, an up file has no down file, or there is no
migration of a name or version.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from velro_auth.ops.database.errors import DatabaseError

_UP: Final = re.compile(r"(?P<version>\d{14})_(?P<name>[a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        version: Fourteen digits, the order of application; the Supabase CLI uses the same form.
    """

    version: str
    name: str
    up_sql: str
    down_sql: str
    is_optional: bool = False

    @property
    def checksum(self) -> str:
        """The SHA-256 of the SQL that applies it."""
        return sha256(self.up_sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Version and name."""
        return f"{self.version}_{self.name}"

    @property
    def option(self) -> str:
        """The name by which ``db up --with`` and ``db down --only`` call it: with hyphens."""
        return self.name.replace("_", "-")


def package_sql(name: str) -> str:
    """Return the text of the file ``<name>.sql`` of ``velro_auth.ops``, such as ``database/triggers``."""
    return resources.files("velro_auth.ops").joinpath(f"{name}.sql").read_text("utf-8")


def shipped() -> Traversable:
    """Return the folder of migrations of this release.

    A wheel holds it as ``velro_auth/migrations``; in a checkout it is next to the package.
    """
    package = resources.files("velro_auth")
    for folder in (package / "migrations", Path(str(package)).parent / "migrations"):
        if folder.is_dir():
            return folder
    raise DatabaseError("The folder migrations/ is neither in the package velro_auth nor beside it")


def load(directory: Traversable) -> tuple[Migration, ...]:
    """Return the migrations of a folder in their order, without the optional ones."""
    if not directory.is_dir():
        raise DatabaseError(f"There is no folder {directory}")
    files = {file.name: file for file in directory.iterdir()}
    found = [match for name in sorted(files) if (match := _UP.fullmatch(name))]
    if not found:
        raise DatabaseError(f"There is no migration in {directory}")
    return tuple(_read(files, match) for match in found)


def load_all(directory: Traversable) -> tuple[Migration, ...]:
    """Return the migrations of a folder with the optional ones in its folder ``optional``, in their order."""
    optional = (replace(one, is_optional=True) for one in load(directory / "optional"))
    return tuple(sorted((*load(directory), *optional), key=lambda one: one.version))


def named(migrations: Sequence[Migration], options: Collection[str]) -> tuple[Migration, ...]:
    """Return the optional migrations with these names."""
    known = {one.option: one for one in migrations if one.is_optional}
    unknown = sorted(set(options) - known.keys())
    if unknown:
        raise DatabaseError(
            f"There is no optional migration {', '.join(unknown)}; there are: {', '.join(known) or 'none'}"
        )
    return tuple(one for name, one in known.items() if name in options)


def upto(migrations: Sequence[Migration], version: str) -> tuple[Migration, ...]:
    """Return the migrations up to and including *version*."""
    versions = [migration.version for migration in migrations]
    if version not in versions:
        raise DatabaseError(f"There is no migration {version}; there are {', '.join(versions)}")
    return tuple(migrations[: versions.index(version) + 1])


def _read(files: dict[str, Traversable], up: re.Match[str]) -> Migration:
    down = f"{up['version']}_{up['name']}.down.sql"
    if down not in files:
        raise DatabaseError(f"{up.string} has no {down} beside it")
    return Migration(up["version"], up["name"], _text(files[up.string]), _text(files[down]))


def _text(file: Traversable) -> str:
    # A checkout on Windows must have the same checksum.
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")
