"""The table ``velro_auth.schema_migrations``: what was applied, and the SQL that rolls it back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.files import Migration, package_sql

#: The value of ``applied_by`` for migrations that the Supabase CLI applied.
SUPABASE_CLI: Final = "supabase cli"


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of the history.

    Attributes:
        checksum: The SHA-256 of the SQL that was run; empty where it is unknown.
        down_sql: The SQL that rolls it back, as it was when the migration was applied.
        applied_at: When; None where the Supabase CLI applied it, which stores no time.
    """

    version: str
    name: str
    checksum: str
    down_sql: str
    applied_at: datetime | None
    applied_by: str

    @property
    def label(self) -> str:
        """Version and name."""
        return f"{self.version}_{self.name}"


def read(connection: Connection) -> dict[str, Applied]:
    """Return the history by version; empty where the table is missing."""
    if not exists(connection, "velro_auth", "schema_migrations"):
        return {}
    rows = connection.execute(
        "select version, name, checksum, down_sql, applied_at, applied_by"
        " from velro_auth.schema_migrations order by version"
    )
    found = (Applied(*cast("tuple[str, str, str, str, datetime, str]", row)) for row in rows)
    return {applied.version: applied for applied in found}


def cli_versions(connection: Connection) -> frozenset[str]:
    """Return the versions that the Supabase CLI has applied."""
    if not exists(connection, "supabase_migrations", "schema_migrations"):
        return frozenset()
    rows = connection.execute("select version from supabase_migrations.schema_migrations")
    return frozenset(str(version) for (version,) in rows)


def create(connection: Connection) -> None:
    """Create the table where it is missing."""
    connection.execute(package_sql("database/history_create").encode())


def has(connection: Connection, version: str) -> bool:
    """Return whether *version* is recorded."""
    row = connection.execute("select from velro_auth.schema_migrations where version = %s", (version,)).fetchone()
    return row is not None


def record(connection: Connection, migration: Migration, *, applied_by: str = "") -> None:
    """Record that *migration* was applied, by the current role unless *applied_by* names another one."""
    connection.execute(
        "insert into velro_auth.schema_migrations (version, name, checksum, down_sql, applied_by)"
        " values (%s, %s, %s, %s, coalesce(nullif(%s, ''), current_user))",
        (migration.version, migration.name, migration.checksum, migration.down_sql, applied_by),
    )


def delete(connection: Connection, version: str) -> None:
    """Delete the row of *version*, and the table if it becomes empty."""
    connection.execute("delete from velro_auth.schema_migrations where version = %s", (version,))
    connection.execute(package_sql("database/history_drop").encode())


def exists(connection: Connection, schema: str, table: str) -> bool:
    """Return whether the table exists and this role may read it."""
    row = connection.execute(
        "select from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s"
        " and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')",
        (schema, table),
    ).fetchone()
    return row is not None
