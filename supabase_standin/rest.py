"""The data API for one table, ``public.users``, and for functions, under the caller's own rights.

Every request runs in a transaction as ``authenticator`` that takes the caller's role and publishes the
token's claims, as PostgREST does. So row level security and grants are the database's, not an imitation.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import psycopg
from flask import Blueprint, g, request
from psycopg import sql
from werkzeug.wrappers import Response

from supabase_standin import restquery, rpc
from supabase_standin.backend import Backend, Call
from supabase_standin.resterrors import RestFailure, no_table, translated
from supabase_standin.restquery import Query

TABLE: Final = "users"
TOKEN_PARTS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the database answered.

    Attributes:
        rows: The rows as one JSON array.
        count: How many rows came.
        total: How many there are; None when the request did not ask for the number.
    """

    rows: str
    count: int
    total: int | None = None


def blueprint(backend: Backend) -> Blueprint:
    """Return the routes of the data API."""
    routes = Blueprint("rest", __name__)

    @routes.get(f"/{TABLE}")
    def read() -> Response:
        query, found = _run(backend, g.call, _read)
        return _shown(query, found)

    @routes.patch(f"/{TABLE}")
    def change() -> Response:
        query, found = _run(backend, g.call, _change)
        return _shown(query, found) if query.wants_rows else _empty(found)

    @routes.post("/rpc/<name>")
    def call(name: str) -> Response:
        given = _object(g.call.body) if g.call.body else {}
        with _transaction(backend, g.call) as connection:
            result = rpc.call(connection, name, given)
        if result is None:
            return _empty(Result(rows="[]", count=0))
        return Response(result, 200, content_type="application/json; charset=utf-8")

    @routes.route("/<name>", methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
    def other(name: str) -> Response:
        if name == TABLE:
            raise RestFailure(405, "PGRST117", f"Unsupported HTTP method: {request.method}")
        raise no_table(name)

    @routes.errorhandler(RestFailure)
    def failed(error: RestFailure) -> Response:
        return error.respond()

    return routes


def _run(
    backend: Backend, call: Call, action: Callable[[psycopg.Connection, Query, bytes], Result]
) -> tuple[Query, Result]:
    with _transaction(backend, call) as connection:
        try:
            query = restquery.parse(request)
        except restquery.Unparsable as error:
            raise RestFailure(400, "PGRST100", str(error)) from error
        found = action(connection, query, call.body)
        if query.wants_single and found.count != 1:
            raise _not_single(found.count)
    return query, found


@contextlib.contextmanager
def _transaction(backend: Backend, call: Call) -> Iterator[psycopg.Connection]:
    """Lend a connection with the caller's rights, for one transaction that the pre-request function has admitted."""
    claims = _claims(backend, call)
    role = str(claims.get("role") or "anon")
    try:
        with backend.data.transaction() as connection:
            _become(connection, role, claims)
            rpc.before_request(connection)
            yield connection
    except psycopg.Error as error:
        raise translated(error, role=role) from error


def _claims(backend: Backend, call: Call) -> Mapping[str, Any]:
    """Return whose rights count: the token's, or those of the API key where it stands in for one."""
    if call.bearer in {None, backend.config.publishable_key, backend.config.secret_key}:
        return {"role": call.key_role}
    assert call.bearer is not None
    try:
        return backend.keys.verify(call.bearer)
    except jwt.ExpiredSignatureError:
        raise RestFailure(401, "PGRST303", "JWT expired") from None
    except jwt.PyJWTError:
        parts = call.bearer.count(".") + 1
        if parts != TOKEN_PARTS:
            raise RestFailure(401, "PGRST301", f"Expected 3 parts in JWT; got {parts}") from None
        raise RestFailure(401, "PGRST301", "No suitable key or wrong key type") from None


def _become(connection: psycopg.Connection, role: str, claims: Mapping[str, Any]) -> None:
    connection.execute(
        "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
        [json.dumps(claims), role],
    )


def _read(connection: psycopg.Connection, query: Query, _body: bytes) -> Result:
    statement = sql.SQL("select {} from public.users{}{}{}").format(
        query.columns, query.where, query.order, query.slice
    )
    found = _gathered(connection, statement, query.values)
    if not query.wants_count:
        return found
    counting = sql.SQL("select count(*) from public.users{}").format(query.where)
    row = connection.execute(counting, query.values, prepare=False).fetchone()
    return Result(rows=found.rows, count=found.count, total=row[0] if row else None)


def _change(connection: psycopg.Connection, query: Query, body: bytes) -> Result:
    given = _object(body)
    if not given:
        return Result(rows="[]", count=0)
    settings = [sql.SQL("{0} = given.{0}").format(sql.Identifier(name)) for name in given]
    statement = sql.SQL(
        "update public.users set {} from json_populate_record(null::public.users, %s::json) as given{}"
    ).format(sql.SQL(", ").join(settings), query.where)
    values = [json.dumps(given), *query.values]
    try:
        if query.wants_rows:
            returning = sql.SQL("{} returning {}").format(statement, query.columns)
            return _gathered(connection, returning, values)
        return Result(rows="[]", count=connection.execute(statement, values, prepare=False).rowcount)
    except psycopg.errors.UndefinedColumn as error:
        text = f"Could not find a column of {sorted(given)} of 'users' in the schema cache"
        raise RestFailure(400, "PGRST204", text) from error


def _gathered(connection: psycopg.Connection, statement: sql.Composable, values: list[str]) -> Result:
    # The database writes the JSON. Never prepared: migrations may change the table between two requests.
    whole = sql.SQL("with t as ({}) select coalesce(json_agg(t), '[]')::text, count(*) from t")
    row = connection.execute(whole.format(statement), values, prepare=False).fetchone()
    assert row is not None
    return Result(rows=row[0], count=row[1])


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError:
        raise RestFailure(400, "PGRST102", "Empty or invalid json") from None
    if not isinstance(given, dict):
        raise RestFailure(400, "PGRST102", "All object keys must match")
    return given


def _not_single(count: int) -> RestFailure:
    text = "Cannot coerce the result to a single JSON object"
    return RestFailure(406, "PGRST116", text, details=f"The result contains {count} rows")


def _shown(query: Query, found: Result) -> Response:
    is_part = found.total is not None and found.count < found.total
    body = found.rows[1:-1] if query.wants_single else found.rows
    kind = "vnd.pgrst.object+json" if query.wants_single else "json"
    response = Response(body, 206 if is_part else 200)
    response.headers["Content-Type"] = f"application/{kind}; charset=utf-8"
    response.headers["Content-Range"] = _content_range(query.offset, found)
    return response


def _empty(found: Result) -> Response:
    response = Response(b"", 204)
    del response.headers["Content-Type"]
    response.headers["Content-Range"] = _content_range(0, found)
    return response


def _content_range(offset: int, found: Result) -> str:
    part = f"{offset}-{offset + found.count - 1}" if found.count else "*"
    return f"{part}/{'*' if found.total is None else found.total}"
