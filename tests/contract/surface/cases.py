"""The cases that were recorded on a real Supabase Auth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

RECORDED: Final = Path(__file__).parents[2] / "vectors" / "supabase-auth-surface.json"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what became of it.

    Attributes:
        id: Its name.
        precondition: What was before, in words.
        settings: The server's own, by name.
        method: The method.
        path: The path below ``/auth/v1``, with placeholders.
        headers: Headers with placeholders.
        body: JSON with placeholders; None for no body or a raw one.
        raw_body: A body that is no JSON; None where there is none.
        response: Status, headers and body, with placeholders.
        new_format: The same for a caller of API version 2024-01-01; None where it was not asked.
        changes: What changed in which table; None where nobody looked.
        mails: What was sent.
        claims: What the access token says; None where nobody looked.
    """

    id: str
    precondition: str
    settings: Mapping[str, str]
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    raw_body: str | None
    response: Mapping[str, Any]
    new_format: Mapping[str, Any] | None
    changes: Mapping[str, Any] | None
    mails: list[dict[str, Any]]
    claims: Mapping[str, Any] | None


def _read() -> dict[str, Case]:
    found = {}
    for item in json.loads(RECORDED.read_text("utf-8"))["cases"]:
        asked = item["request"]
        found[item["id"]] = Case(
            id=item["id"],
            precondition=item["precondition"],
            settings=item["server_settings"],
            method=asked["method"],
            path=asked["path"],
            headers=asked["headers"],
            body=asked.get("body"),
            raw_body=asked.get("raw_body"),
            response=item["response"],
            new_format=item.get("response_with_api_version_2024_01_01"),
            changes=item.get("table_changes"),
            mails=item.get("mails_sent", []),
            claims=item.get("access_token_claims"),
        )
    return found


CASES: Final[Mapping[str, Case]] = _read()
#: Only these are compared; what else an answer carries was not recorded.
HEADERS: Final = frozenset(name for case in CASES.values() for name in case.response["headers"])
