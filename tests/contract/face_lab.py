"""A gateway with ``/auth/v1`` in front of a stand-in, on a port of its own, as Supabase's clients call it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client, TestResponse

from supabase_standin import Standin
from tests.fixtures.standin import PASSWORD, new_email
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

ROOT = Path(__file__).parents[2]

#: Gives a client two addresses.
ADAPTER = ROOT / "clients" / "typescript" / "auth-by-gateway.mjs"
PAGE = ROOT / "docs" / "how-to" / "use-supabase-clients.md"

#: No delays, and no limit that a test would reach; what the stand-in is asked for has arrived when the answer leaves.
ENVIRONMENT = {
    "AUTH_SUPABASE_API": "on",
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_REDIRECT_URLS": "https://app.example.com",
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_THROTTLE_SCALE": "1000",
    "AUTH_UPSTREAM_QUOTA": "off",
    "UPSTREAM_DEADLINE_S": "5",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "CORS_ORIGINS": "https://app.example.com",
}


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Write nothing."""


def settings_of(standin: Standin, **environment: str) -> Settings:
    """Return the settings of a gateway in front of *standin*."""
    settings = Settings.from_environment(
        {
            "SUPABASE_URL": standin.url,
            "SUPABASE_PUBLISHABLE_KEY": standin.publishable_key,
            "SUPABASE_SECRET_KEY": standin.secret_key,
            **ENVIRONMENT,
            **environment,
        }
    )
    assert not settings.errors
    return settings


@contextlib.contextmanager
def face_of(standin: Standin, *, port: int = 0, **environment: str) -> Iterator[str]:
    """Run a gateway and yield its address; *port* is that of an earlier one."""
    service = create_app(settings_of(standin, **environment))
    service.start()
    server = make_server("127.0.0.1", port, service, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        service.stop()


class Face:
    """One gateway and its project, and a client that speaks as supabase-js does."""

    def __init__(self, standin: Standin, **environment: str) -> None:
        self.standin = standin
        self.client = Client(create_app(settings_of(standin, **environment)))

    def call(self, method: str, path: str, json: Any = None, *, token: str = "", **headers: str) -> TestResponse:
        sent = {"apikey": self.standin.publishable_key, "X-Supabase-Api-Version": "2024-01-01", **headers}
        sent["Authorization"] = f"Bearer {token or self.standin.publishable_key}"
        return self.client.open(f"/auth/v1{path}", method=method, json=json, headers=sent)

    def user(self) -> tuple[str, dict[str, Any]]:
        """Make a user, and return their address and session."""
        email = new_email()
        self.standin.create_user(email, PASSWORD)
        return email, self.log_in(email).get_json()

    def log_in(self, email: str, password: str = PASSWORD) -> TestResponse:
        return self.call("POST", "/token?grant_type=password", {"email": email, "password": password})

    def mail(self, email: str) -> dict[str, str]:
        answer = requests.get(f"{self.standin.url}/mailbox.json", params={"to": email}, timeout=10)
        found: list[dict[str, str]] = answer.json()
        return found[0]


def blocks_of(language: str) -> list[str]:
    """Return the code of a language on the how-to page, block by block."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
