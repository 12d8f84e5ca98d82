"""Lists for administrators, page by page: the users, and the audit log."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlencode

from psycopg.rows import dict_row

from supabase_standin import timestamps, users
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure

DEFAULT_PAGE_SIZE: Final = 50
SORTABLE: Final = ("created_at",)
#: What the audit log can be searched by → where that stands.
AUDIT_FIELDS: Final = {
    "author": ("actor_username", "actor_name"),
    "action": ("action",),
    "type": ("log_type",),
}


def user_page(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``GET /admin/users``: one page, newest first, without identities.

    Raises:
        Failure: Page, size or order are none.
    """
    number, size = _page(call)
    with backend.auth.transaction() as connection:
        found, total = users.page(
            connection,
            limit=size,
            offset=(number - 1) * size,
            order=_order(call),
            text=call.query.get("filter", ""),
        )
        shown = [users.shown(connection, user) | {"identities": None} for user in found]
    for one in shown:
        one.pop("factors", None)
    _count(call, "/admin/users", number=number, size=size, total=total)
    return {"users": shown, "aud": users.AUDIENCE}


def audit_page(backend: Backend, call: Call) -> list[dict[str, Any]]:
    """Answer ``GET /admin/audit``: one page, newest first.

    Raises:
        Failure: Page, size or query are none.
    """
    number, size = _page(call)
    condition, values = _audit_condition(call.query.get("query", ""))
    with backend.auth.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            f"select id, payload, created_at, ip_address from auth.audit_log_entries where {condition}"
            " order by created_at desc limit %s offset %s".encode(),
            [*values, size, (number - 1) * size],
        ).fetchall()
        statement = f"select count(*) as total from auth.audit_log_entries where {condition}"
        total = (cursor.execute(statement.encode(), values).fetchone() or {"total": 0})["total"]
    _count(call, "/admin/audit", number=number, size=size, total=total)
    return [row | {"id": str(row["id"]), "created_at": timestamps.text(row["created_at"])} for row in rows]


def _page(call: Call) -> tuple[int, int]:
    number, size = _number(call, "page", 1), _number(call, "per_page", DEFAULT_PAGE_SIZE)
    if size == 0:
        raise Failure(500, "unexpected_failure", "Internal Server Error", has_id=False)
    return number, size


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name)
    if not text:  # the official client sends empty ones for "not given"
        return default
    if not re.fullmatch(r"\d{1,9}", text):
        raise Failure(400, "validation_failed", f"Bad Pagination Parameters: strconv.ParseUint: {text}")
    return max(int(text), 1 if name == "page" else 0)


def _order(call: Call) -> str:
    wanted = call.query.get("sort") or "created_at desc"
    name, _, direction = wanted.partition(" ")
    if name not in SORTABLE:
        raise Failure(400, "validation_failed", f"Bad Sort Parameters: bad field for sort '{name}'")
    if direction.lower() not in {"", "asc", "desc"}:
        raise Failure(400, "validation_failed", f"Bad Sort Parameters: bad direction for sort '{direction}'")
    return f"{name} {direction.lower() or 'desc'}"


def _audit_condition(query: str) -> tuple[str, list[str]]:
    if not query:
        return "true", []
    name, _, text = query.partition(":")
    keys = AUDIT_FIELDS.get(name)
    if keys is None or not text:
        raise Failure(400, "validation_failed", f"Invalid query scope: {query}")
    found = " or ".join(f"payload ->> '{key}' ilike %s" for key in keys)
    return f"({found})", [f"%{text}%"] * len(keys)


def _count(call: Call, path: str, *, number: int, size: int, total: int) -> None:
    """Set the headers that say how many there are and where more are."""
    last = max(1, -(-total // size))
    links = [_link(call, path, number + 1, "next")] if number < last else []
    links.append(_link(call, path, last, "last"))
    call.reply_headers["Link"] = ", ".join(links)
    call.reply_headers["X-Total-Count"] = str(total)


def _link(call: Call, path: str, number: int, relation: str) -> str:
    query = urlencode(sorted({**call.query, "page": str(number)}.items()))
    return f'<{path}?{query}>; rel="{relation}"'
