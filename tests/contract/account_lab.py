"""A gateway in front of a stand-in that sends mails, and what people do there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.contract.test_login_against_the_standin import app_of

AUTH = "/api/v1/auth"
PAGE = "https://app.example.com/welcome"
PASSWORD = "correct horse battery staple 1!"

#: No delays, no budgets; what the stand-in is asked for has arrived when the answer leaves.
ENVIRONMENT = {
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_REDIRECT_URLS": "https://app.example.com",
    "UPSTREAM_DEADLINE_S": "5",
}


@dataclass(frozen=True)
class Lab:
    """One gateway and its project."""

    standin: Standin
    client: Client

    def post(self, path: str, **body: Any) -> TestResponse:
        """Send one request."""
        return self.client.post(AUTH + path, json=body)

    def mails(self, email: str) -> list[dict[str, str]]:
        """Return the mails to an address, the newest first."""
        answer = requests.get(f"{self.standin.url}/mailbox.json", params={"to": email}, timeout=10)
        found: list[dict[str, str]] = answer.json()
        return found

    def mail(self, email: str, kind: str = "") -> dict[str, str]:
        """Return the newest mail to an address, of one kind if that is given."""
        return next(mail for mail in self.mails(email) if kind in {"", mail["type"]})

    def log_in(self, email: str, password: str = PASSWORD) -> TestResponse:
        """Log in."""
        return self.post("/login", email=email, password=password)

    def verify(self, session: Mapping[str, Any]) -> int:
        """Return the status of ``verify``."""
        headers = {"Authorization": f"Bearer {session['access_token']}"}
        return self.client.get(f"{AUTH}/verify", headers=headers).status_code


def lab_of(standin: Standin, *, fast_lane: bool = False, **environment: str) -> Lab:
    """Return a lab with a gateway of its own."""
    return Lab(standin, app_of(standin, fast_lane=fast_lane, **{**ENVIRONMENT, **environment}))
