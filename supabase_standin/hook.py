"""The access token hook: a function in the database that may change what a token says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import sql

from supabase_standin import timestamps
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure

REQUIRED: Final = (
    "aud",
    "exp",
    "iat",
    "sub",
    "email",
    "phone",
    "role",
    "aal",
    "session_id",
    "is_anonymous",
)
#: Claim → the types it may have, as JSON schema calls them.
TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "aud": ("string", "array"),
    "exp": ("integer",),
    "iat": ("integer",),
    "nbf": ("integer",),
    "iss": ("string",),
    "sub": ("string",),
    "jti": ("string",),
    "email": ("string",),
    "phone": ("string",),
    "role": ("string",),
    "aal": ("string",),
    "session_id": ("string",),
    "is_anonymous": ("boolean",),
    "app_metadata": ("object",),
    "user_metadata": ("object",),
    "amr": ("array",),
}
NAMES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def run(
    backend: Backend, connection: psycopg.Connection, call: Call, claims: dict[str, Any], *, method: str
) -> dict[str, Any]:
    """Return *claims* as the hook leaves them; unchanged where there is no hook.

    It runs inside the login's transaction, as the role of the Auth server: without BYPASSRLS and with
    ``search_path=auth``.

    Args:
        backend: The service.
        connection: In the login's transaction.
        call: The request that wants a token.
        claims: What the token would say.
        method: How the user got here, for example ``password`` or ``token_refresh``.

    Raises:
        Failure: The hook failed, refused, or returned something that is no set of claims.
    """
    name = backend.config.token_hook
    if name is None:
        return claims
    schema, function = name.split(".", 1)
    if not backend.config.token_hook_required and not _exists(connection, schema, function):
        return claims
    event = {
        "metadata": _metadata(backend, call),
        "user_id": claims["sub"],
        "claims": claims,
        "authentication_method": method,
    }
    timeout_ms = int(backend.config.token_hook_timeout_s * 1000)
    return _claims(_call(connection, schema, function, event, timeout_ms=timeout_ms))


def _metadata(backend: Backend, call: Call) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "time": timestamps.precise_text(backend.clock()),
        "name": "customize-access-token",
        "ip_address": call.address,
    }


def _exists(connection: psycopg.Connection, schema: str, function: str) -> bool:
    row = connection.execute(
        "select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = %s and p.proname = %s)",
        [schema, function],
    ).fetchone()
    return bool(row and row[0])


def _call(connection: psycopg.Connection, schema: str, function: str, event: dict[str, Any], *, timeout_ms: int) -> Any:
    statement = sql.SQL("select {}(%s)").format(sql.Identifier(schema, function))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("set local statement_timeout = {}").format(timeout_ms))
            # A string has no type yet for PostgreSQL, so the function may take json or jsonb.
            row = connection.execute(statement, [json.dumps(event)]).fetchone()
            connection.execute("set local statement_timeout = default")
    except psycopg.Error as error:
        uri = f"pg-functions://postgres/{schema}/{function}"
        raise Failure(500, "unexpected_failure", f"Error running hook URI: {uri}", cause=error) from error
    return row[0] if row else None


def _claims(output: Any) -> dict[str, Any]:
    if output is not None and not isinstance(output, dict):
        raise Failure(500, None, "output claims field is missing")
    if output is None:
        output = {"claims": None}
    error = output.get("error")
    if isinstance(error, dict) and error.get("message"):
        raise Failure(int(error.get("http_code") or 500), None, str(error["message"]))
    if "claims" not in output:
        raise Failure(500, None, "output claims field is missing")
    claims = output["claims"]
    complaints = _complaints(claims)
    if complaints:
        lines = "".join(f"- {line}\n" for line in complaints)
        raise Failure(500, None, f"output claims do not conform to the expected schema: \n{lines}")
    assert isinstance(claims, dict)
    return claims


def _complaints(claims: Any) -> list[str]:
    if not isinstance(claims, dict):
        return [_wrong_type("(root)", ("object",), claims)]
    missing = [f"(root): {name} is required" for name in REQUIRED if name not in claims]
    wrong = [
        _wrong_type(name, allowed, claims[name])
        for name, allowed in TYPES.items()
        if name in claims and NAMES[type(claims[name])] not in allowed
    ]
    return missing + wrong


def _wrong_type(where: str, allowed: tuple[str, ...], value: Any) -> str:
    return f"{where}: Invalid type. Expected: {'/'.join(allowed)}, given: {NAMES[type(value)]}"
