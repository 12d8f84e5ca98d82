"""Opens the one connection that migrations use, and puts what goes wrong into words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from velro_auth.ops.database.errors import BadDatabaseUrl, DatabaseUnreachable, StatementFailed

#: Seconds until a server that does not answer counts as unreachable.
CONNECT_TIMEOUT_S: Final = 10

Connection = psycopg.Connection[tuple[object, ...]]

#: Part of libpq's message → what it means in practice.
_HINTS: Final = {
    "password authentication failed": "the password or the user name is wrong",
    "no password supplied": "the address contains no password",
    "Tenant or user not found": "the pooler wants the user name postgres.<project reference>",
    "could not translate host name": "the host name is unknown",
    "failed to resolve host": "the host name is unknown",
    "Network is unreachable": "the host has an IPv6 address only; use the address of the session pooler",
    "Connection refused": "nothing listens at that host and port",
    "timeout expired": f"no answer within {CONNECT_TIMEOUT_S} s",
    "does not exist": "there is no such database or role",
    "certificate": "the server's certificate was not accepted",
    "too many": "all connections are taken",
}


def parsed(dsn: str) -> dict[str, str]:
    """Return the parts of a database address.

    The parser's own message is not passed on: it may quote a piece of the password.

    Raises:
        BadDatabaseUrl: It is empty, another kind of address, or malformed.
    """
    if not dsn.strip():
        raise BadDatabaseUrl("DATABASE_URL is not set; Supabase shows it under Connect")
    if dsn.startswith(("http://", "https://")):
        raise BadDatabaseUrl(
            "DATABASE_URL is a web address; the database's begins with postgresql:// (Supabase shows it under Connect)"
        )
    if "[YOUR-PASSWORD]" in dsn:
        raise BadDatabaseUrl("DATABASE_URL still contains the placeholder [YOUR-PASSWORD]")
    with suppress(psycopg.Error):
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
        # An unescaped @ or / in the password moves a piece of it into the host or the port.
        if "@" not in parts.get("host", "") and parts.get("port", "0").replace(",", "").isdigit():
            return parts
    raise BadDatabaseUrl(
        "DATABASE_URL is not a PostgreSQL address; special characters in the password must be"
        " percent-encoded (@ as %40, / as %2F, % as %25)"
    )


@contextmanager
def connected(dsn: str, on_notice: Callable[[str], None]) -> Iterator[Connection]:
    """Open a connection, in autocommit, for the length of a block.

    Nothing is prepared and nothing is set for the session, so a transaction pooler may sit in between.

    Args:
        dsn: The address of the database.
        on_notice: Told each warning of the server, as one line.

    Raises:
        BadDatabaseUrl: The address cannot be used.
        DatabaseUnreachable: No connection came about, or it broke.
        StatementFailed: The server refused a statement, and nobody closer had better words for it.
    """
    where = place(dsn)
    try:
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_S,
            fallback_application_name="velro-auth",
        )
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"No connection to {where}: {_meaning(str(error))}") from error
    connection.add_notice_handler(lambda diagnostic: _pass_on(diagnostic, on_notice))
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            if connection.broken:
                raise DatabaseUnreachable(
                    f"The connection to {where} broke; what was committed is recorded, so run the command again"
                ) from error
            if error.sqlstate is None:
                raise  # a mistake of ours, and no word of the server's
            # Without the detail, which may quote somebody's data.
            raise StatementFailed(f"{where}: {error.diag.message_primary} ({error.sqlstate})") from error


def place(dsn: str) -> str:
    """Return which database that is, in words and without its password.

    Raises:
        BadDatabaseUrl: The address cannot be used.
    """
    parts = parsed(dsn)
    host, database = parts.get("host", "the local server"), parts.get("dbname", "its default database")
    return f"{database} on {host}"


def _meaning(message: str) -> str:
    for part, meaning in _HINTS.items():
        if part in message:
            return meaning
    return message.strip().splitlines()[-1]


def _pass_on(diagnostic: psycopg.errors.Diagnostic, on_notice: Callable[[str], None]) -> None:
    if diagnostic.severity_nonlocalized == "WARNING":
        on_notice(diagnostic.message_primary or "")
