"""Supabase's token endpoint, faked for ``requests``: what it answers and what it was asked."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import responses

PROJECT = "https://project.supabase.co"
TOKEN = f"{PROJECT}/auth/v1/token"
VECTORS = Path(__file__).parent / "vectors"

SESSION: dict[str, Any] = json.loads((VECTORS / "supabase-auth-session.example.json").read_text())


def token(**claims: Any) -> str:
    """Return something shaped like an access token; nobody verifies it on the login path."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'ES256', 'typ': 'JWT'})}.{part(claims)}.c2lnbmF0dXJl"


def session(**changes: Any) -> dict[str, Any]:
    """Return the body of a successful login, with *changes* at its top level."""
    exp = int(time.time()) + 3600
    fresh = {"access_token": token(exp=exp, sub=SESSION["user"]["id"]), "expires_at": exp}
    return json.loads(json.dumps({**SESSION, **fresh, **changes}))  # type: ignore[no-any-return] # a dict it was


class UpstreamDouble:
    """Answers every login the same, until told otherwise."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self._mock = mock

    def answers(self, body: Any = None, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with *body*: an exception is raised, bytes and text are sent as they are, the rest as JSON."""
        raw = body if isinstance(body, bytes | str | Exception) else json.dumps(session() if body is None else body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        content_type = headers.pop("Content-Type")
        self._mock.upsert(responses.POST, TOKEN, body=raw, status=status, headers=headers, content_type=content_type)

    def calls_back(self, answer: Callable[[Any], tuple[int, dict[str, str], str]]) -> None:
        """Answer with what *answer* returns: status, headers, body."""
        self._mock.remove(responses.POST, TOKEN)
        self._mock.add(responses.CallbackResponse(responses.POST, TOKEN, answer, content_type="application/json"))

    @property
    def asked(self) -> list[Any]:
        """The requests for a token that arrived; others, such as one for the signing keys, are not counted."""
        return [call.request for call in self._mock.calls if str(call.request.url).startswith(TOKEN)]

    def __repr__(self) -> str:
        return f"UpstreamDouble({len(self.asked)} asked)"
