"""The local Supabase of ``velro-auth dev``: its addresses and keys, and its users."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import click
import requests

from velro_auth.upstream.answers import object_in

#: File in the data directory that contains the running project.
FILE_NAME: Final = "running.json"

LOOPBACK: Final = "127.0.0.1"

#: Pages of a frontend under development, on any port.
DEV_PAGES: Final = ("http://localhost:*/**", "http://127.0.0.1:*/**")

#: Seconds between two mails of one kind to one user; Supabase's own 60 would be long at a desk.
MAIL_INTERVAL_S: Final = 1

_UNPROCESSABLE: Final = 422


class CannotStart(click.ClickException):
    """The local Supabase or the gateway cannot start; the message says why."""


@dataclass(frozen=True, kw_only=True)
class LocalProject:
    """Addresses and keys of a local Supabase and of the gateway in front of it.

    Attributes:
        control_token: Switches faults of the local Supabase on and off.
    """

    gateway_url: str
    url: str
    publishable_key: str
    secret_key: str
    database_dsn: str
    control_token: str = field(default="", repr=False)

    @classmethod
    def from_line(cls, line: str, *, gateway_url: str) -> Self:
        """Read the line that the local Supabase prints when it is ready."""
        fields: Mapping[str, Any] = json.loads(line)
        names = ("url", "publishable_key", "secret_key", "database_dsn", "control_token")
        return cls(gateway_url=gateway_url, **{name: fields[name] for name in names})

    @classmethod
    def running(cls, data_dir: Path) -> Self:
        """Return the running project of *data_dir*.

        Raises:
            CannotStart: No project is running.
        """
        with contextlib.suppress(OSError, ValueError, TypeError):
            project = cls(**json.loads((data_dir / FILE_NAME).read_text()))
            if _listens(project.url):
                return project
        raise CannotStart(f"No local Supabase runs on {data_dir}: start one with 'make run' in another terminal.")

    @contextlib.contextmanager
    def published(self, data_dir: Path) -> Iterator[None]:
        """Write the file that ``running`` reads, readable by this user only, and remove it at the end of the block."""
        file = data_dir / FILE_NAME
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(asdict(self), opened)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    @property
    def mailbox_url(self) -> str:
        """The page with every mail that the local Supabase sent; ``/mailbox.json?to=`` is for programs."""
        return f"{self.url}/mailbox"

    def variables(self) -> dict[str, str]:
        """Return the environment variables for other programs."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "DATABASE_URL": self.database_dsn,
            "AUTH_URL": self.gateway_url,
            "MAILBOX_URL": self.mailbox_url,
        }

    def add_user(self, email: str, password: str, **more: Any) -> bool:
        """Create a user with a confirmed address; return False if the address has an account.

        Raises:
            CannotStart: Supabase refused.
        """
        answer = requests.post(
            f"{self.url}/auth/v1/admin/users",
            json={"email": email, "password": password, "email_confirm": True, **more},
            headers={"apikey": self.secret_key, "Authorization": f"Bearer {self.secret_key}"},
            timeout=10,
        )
        if answer.status_code == _UNPROCESSABLE and "email_exists" in answer.text:
            return False
        if not answer.ok:
            raise CannotStart(f"The local Supabase refused to create {email}: {_reason(answer)}")
        return True


def mail_options(gateway_url: str, *, confirm: str) -> list[str]:
    """Return the arguments of ``python -m supabase_standin`` that concern mails.

    Links lead to pages of the gateway, or of a frontend on any port, and spend nothing when they are opened.

    Args:
        gateway_url: Links lead to its page ``/confirm`` unless a request asks for another page.
        confirm: ``mail`` if new accounts wait for a mail, ``auto`` if not.
    """
    options = [
        "--site-url",
        f"{gateway_url}/confirm",
        "--mail-link",
        "redirect",
        "--mail-interval-s",
        str(MAIL_INTERVAL_S),
    ]
    for pages in DEV_PAGES:
        options += ["--redirect-url", pages]
    return [*options, "--no-autoconfirm"] if confirm == "mail" else options


def _reason(answer: requests.Response) -> str:
    body = object_in(answer.content)
    return str(body.get("msg") or body.get("message") or f"{answer.status_code} {answer.text}")


def _listens(url: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, urlsplit(url).port or 0), timeout=2):
            return True
    except OSError:
        return False
