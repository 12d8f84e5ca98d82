"""The local Supabase that ``velro-auth dev`` runs: where it is, and the users it has."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import click
import requests

#: Beside the data of the local database.
FILE_NAME: Final = "running.json"

LOOPBACK: Final = "127.0.0.1"

_EXISTS: Final = 422


class CannotStart(click.ClickException):
    """Something outside has to change first; the message says what."""


@dataclass(frozen=True, kw_only=True)
class LocalProject:
    """Where a local Supabase and the gateway in front of it are.

    Attributes:
        gateway_url: The gateway.
        url: Supabase.
        publishable_key: The key that browsers may know.
        secret_key: The key of an administrator.
        database_dsn: The database, as the role postgres.
    """

    gateway_url: str
    url: str
    publishable_key: str
    secret_key: str
    database_dsn: str

    @classmethod
    def announced(cls, line: str, *, gateway_url: str) -> Self:
        """Read the line with which the local Supabase says that it is ready."""
        told: Mapping[str, Any] = json.loads(line)
        names = ("url", "publishable_key", "secret_key", "database_dsn")
        return cls(gateway_url=gateway_url, **{name: told[name] for name in names})

    @classmethod
    def running(cls, data_dir: Path) -> Self:
        """Return the project that runs on *data_dir*.

        Raises:
            CannotStart: None does.
        """
        with contextlib.suppress(OSError, ValueError, TypeError):
            project = cls(**json.loads((data_dir / FILE_NAME).read_text()))
            if _listens(project.url):
                return project
        raise CannotStart(f"No local Supabase runs on {data_dir}: start one with 'make run' in another terminal.")

    @contextlib.contextmanager
    def noted(self, data_dir: Path) -> Iterator[None]:
        """Let ``running`` find this project as long as the block lasts; only its owner may read the keys."""
        file = data_dir / FILE_NAME
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(asdict(self), opened)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def variables(self) -> dict[str, str]:
        """Return the variables with which other programs find this project."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "DATABASE_URL": self.database_dsn,
            "AUTH_URL": self.gateway_url,
        }

    def add_user(self, email: str, password: str, **more: Any) -> bool:
        """Create a user whose address counts as confirmed; return False where the address is taken.

        Raises:
            CannotStart: Supabase refuses, and why.
        """
        answer = requests.post(
            f"{self.url}/auth/v1/admin/users",
            json={"email": email, "password": password, "email_confirm": True, **more},
            headers={"apikey": self.secret_key, "Authorization": f"Bearer {self.secret_key}"},
            timeout=10,
        )
        if answer.status_code == _EXISTS and "email_exists" in answer.text:
            return False
        if not answer.ok:
            raise CannotStart(f"The local Supabase refused to create {email}: {_reason(answer)}")
        return True


def _reason(answer: requests.Response) -> str:
    try:
        told = answer.json()
        return str(told.get("msg") or told.get("message") or answer.text)
    except (ValueError, AttributeError):
        return f"{answer.status_code} {answer.text}"


def _listens(url: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, urlsplit(url).port or 0), timeout=2):
            return True
    except OSError:
        return False
