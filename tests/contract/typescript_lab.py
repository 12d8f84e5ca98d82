"""What the TypeScript client needs around it: a project that sends mails, a gateway, and what a life tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from supabase_standin import Standin
from velro_auth.ops.database import Runner

#: Where mails lead.
PAGE: Final = "https://app.example.com/auth/confirm"

#: What each step of ``clients/typescript/test/life.mjs`` tells.
LIFE: Final = [
    ["nobody is there", None],
    ["sign up", "confirmation_sent"],
    ["have the mail again", "confirmation_sent"],
    ["log in too early", "email_not_confirmed"],
    ["confirm with a wrong code", "link_invalid"],
    ["confirm", True],
    ["log out", None],
    ["a wrong password", "invalid_credentials"],
    ["log in", True],
    ["who am I", "Ada"],
    ["another name", "Ada L."],
    ["forget the password", "recovery_sent"],
    ["set another one", True],
    ["add a factor", [None, "verified"]],
    ["log in with it", True],
    ["a wrong code of it", "code_invalid"],
    ["a right code of it", "aal2"],
    ["change the password", "aal2"],
    ["the same again", "same_password"],
    ["refresh", True],
    ["list the sessions, end one", True],
    ["another address", ["confirmation_pending", True]],
    ["remove the factor", 0],
    ["sign in by mail", True],
    ["log out for good", None],
]


def mailing_project(new_standin: Callable[..., Standin], **options: Any) -> Standin:
    """Return a project with the migrations that sends mails at once."""
    standin = new_standin(autoconfirm=False, mail_interval_s=0.0, **options)
    Runner(standin.database_dsn).up()
    return standin


def mail(standin: Standin, to: str, kind: str) -> dict[str, str]:
    """Return the newest mail of a kind to an address."""
    found = requests.get(f"{standin.url}/mailbox.json", params={"to": to}, timeout=10).json()
    return dict(next(one for one in found if one["type"] == kind))


def elsewhere(gateway: str, email: str, password: str) -> str:
    """Log in from another device and return the id of the session."""
    api = f"{gateway}/api/v1/auth"
    session = requests.post(f"{api}/login", json={"email": email, "password": password}, timeout=20).json()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    return str(requests.get(f"{api}/me", headers=headers, timeout=20).json()["session_id"])
