"""The account routes of Supabase Auth, faked for ``requests``: what they answer and what they were asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import responses

from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, SESSION, session

API = f"{PROJECT}/auth/v1"
EMAIL: str = SESSION["user"]["email"]

#: What a project that sends mails answers to a sign-up.
UNCONFIRMED: dict[str, Any] = {"id": SESSION["user"]["id"], "email": EMAIL, "role": "authenticated", "identities": []}

KEY = SigningKey("key-1")

Answer = tuple[int, Any]


def proven(aal: str = "aal1", **user: Any) -> dict[str, Any]:
    """Return the session of a mailed link, whose token this service can read."""
    fresh = KEY.token(claims_at(time.time(), iss=API, sub=SESSION["user"]["id"], aal=aal))
    return session(access_token=fresh, user={**SESSION["user"], **user})


def moment(ago_s: float = 0.0) -> str:
    """Return a time as Supabase writes it."""
    return datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat()


class AccountDouble:
    """Answers each route the same, until told otherwise."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self._answers: dict[str, Callable[[dict[str, Any]], Answer]] = {}
        self.asked: list[tuple[str, dict[str, Any], dict[str, list[str]]]] = []
        self.bearers: list[str | None] = []
        for method, path in (
            ("GET", "/settings"),
            ("POST", "/token"),
            ("POST", "/signup"),
            ("POST", "/resend"),
            ("POST", "/otp"),
            ("POST", "/recover"),
            ("POST", "/verify"),
            ("PUT", "/user"),
            ("POST", "/factors/7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61/challenge"),
            ("POST", "/factors/7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61/verify"),
        ):
            mock.add(responses.CallbackResponse(method, f"{API}{path}", self._answer, content_type="application/json"))
            self.answers(path, {})
        mock.get(f"{API}/.well-known/jwks.json", body=document([KEY]))
        self.answers("/settings", {"mailer_autoconfirm": False})
        self.answers("/signup", UNCONFIRMED)
        self.answers("/verify", proven())
        self.answers("/user", SESSION["user"])

    def answers(self, path: str, body: Any, *, status: int = 200) -> None:
        """Answer a path with *body*; an exception is raised, a function is called with the body it was asked with."""

        def answer(asked: dict[str, Any]) -> Answer:
            told = body(asked) if callable(body) else body
            if isinstance(told, Exception):
                raise told
            return told if isinstance(told, tuple) else (status, told)

        self._answers[path] = answer

    def paths(self) -> list[str]:
        """Return the paths that were asked for, but for the project's settings."""
        return [path for path, _, _ in self.asked if path != "/settings"]

    def _answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(request.url)
        path = parts.path.removeprefix("/auth/v1")
        asked = json.loads(request.body or b"{}")
        self.asked.append((path, asked, parse_qs(parts.query)))
        self.bearers.append(request.headers.get("Authorization"))
        status, body = self._answers[path](asked)
        headers = {"Date": "Thu, 26 Nov 2026 22:00:00 GMT"}
        return status, headers, body if isinstance(body, str) else json.dumps(body)
