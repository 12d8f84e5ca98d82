"""Makes a plain PostgreSQL database look like the one of a Supabase project."""

from __future__ import annotations

from importlib import resources
from typing import Final

import psycopg
from psycopg import conninfo, sql

#: The roles that log in; the bootstrap superuser has its password already.
LOGIN_ROLES: Final = ("postgres", "authenticator", "supabase_auth_admin")

#: How new projects began until 2026-10-30: the data API's roles have all rights on a new table in ``public``.
OPEN_TABLES: Final = """
alter default privileges for role postgres in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on sequences to anon, authenticated, service_role;
"""


def prepare(dsn: str, *, open_tables: bool = False) -> None:
    """Create the roles, the schema ``auth`` and the default rights in the database of *dsn*.

    Safe to repeat. Roles that are made here and log in get the password of *dsn*, if it has one; existing
    roles keep theirs.

    Args:
        dsn: The database, as its superuser.
        open_tables: Grant new tables in ``public`` to the API roles, as older projects do. Since 2026-10-30
            the hosted platform grants nothing.
    """
    statements = resources.files("supabase_standin").joinpath("schema.sql").read_text("utf-8")
    password = conninfo.conninfo_to_dict(dsn).get("password")
    with psycopg.connect(dsn) as connection:
        # Roles belong to the whole cluster; two databases prepared at once would trip over each other.
        connection.execute("select pg_advisory_xact_lock(hashtext('velro-auth standin schema'))")
        known = {row[0] for row in connection.execute("select rolname from pg_roles")}
        connection.execute(statements.encode())
        if open_tables:
            connection.execute(OPEN_TABLES)
        for role in LOGIN_ROLES:
            if password and role not in known:
                _set_password(connection, role, str(password))


def _set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    statement = sql.SQL("alter role {} password {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(password)))
