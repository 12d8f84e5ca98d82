"""No answer of the gateway ends a session of the official client that Supabase would have kept."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.contract.face_lab import face_of
from tests.contract.test_standin_client_calls import JS, NEEDS_NODE
from tests.fixtures.programs import free_port
from tests.fixtures.standin import PASSWORD, new_email

pytestmark = [NEEDS_NODE, pytest.mark.timeout(120)]

#: What Supabase does meanwhile. Met this often, the trouble ends: the client goes on trying.
TROUBLE: dict[str, dict[str, Any]] = {
    "throttled": {"kind": "throttled"},
    "fails": {"kind": "failure", "status": 500},
    "unavailable": {"kind": "html", "status": 503},
    "hangs": {"kind": "hang"},
    "hangs after the work": {"kind": "hang", "after": True},
    "resets": {"kind": "reset"},
    "no session": {"kind": "wrong_json"},
}
TIMES = 2


class Browser:
    """The official client with a session."""

    def __init__(self, url: str, standin: Standin) -> None:
        email = new_email()
        standin.create_user(email, PASSWORD)
        command = ["node", "keep_session.mjs", url, standin.publishable_key, email, PASSWORD]
        self._process = subprocess.Popen(command, cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._said() == "ready"

    def refresh(self) -> dict[str, Any]:
        """Refresh the session, as often as the client itself tries; return what it met and whether it has one."""
        self.begin()
        met: dict[str, Any] = json.loads(self._said())
        return met

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        met: dict[str, Any] = json.loads(self._said())
        return met

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def browser(url: str, standin: Standin) -> Iterator[Browser]:
    made = Browser(url, standin)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_of_supabase(trouble: dict[str, Any], standin: Standin) -> None:
    with face_of(standin, UPSTREAM_DEADLINE_S="1") as url, browser(url, standin) as client:
        standin.faults.on(path="/auth/v1/token", times=TIMES, **trouble)

        assert client.refresh() == {"error": None, "kept": True}
        assert client.refresh() == {"error": None, "kept": True}


def test_an_open_circuit_breaker(standin: Standin) -> None:
    with face_of(standin) as url, browser(url, standin) as client:
        standin.faults.on("html", path="/auth/v1/token", status=503)
        body = {"email": new_email(), "password": PASSWORD}
        key = {"apikey": standin.publishable_key}
        for _ in range(25):
            requests.post(f"{url}/auth/v1/token?grant_type=password", json=body, headers=key, timeout=10)
        standin.faults.clear()

        assert client.refresh() == {"error": None, "kept": True}


def test_a_used_up_rate_limit(standin: Standin) -> None:
    """Our copy of Supabase's own: the next call is allowed after a second."""
    with (
        face_of(standin, AUTH_UPSTREAM_QUOTA="on", UPSTREAM_QUOTA_BURST="1", UPSTREAM_QUOTA_REFILL_S="1") as url,
        browser(url, standin) as client,
    ):
        assert client.refresh() == {"error": None, "kept": True}
        assert client.refresh() == {"error": None, "kept": True}


def test_a_restart_of_the_gateway(standin: Standin) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        with face_of(standin, port=port) as url:
            client = stack.enter_context(browser(url, standin))
        client.begin()
        with face_of(standin, port=port):
            assert client.end() == {"error": None, "kept": True}


def test_tabs_libraries_and_processes_share_one_refresh(standin: Standin) -> None:
    """Twenty at once, through both faces."""
    email = new_email()
    standin.create_user(email, PASSWORD)
    with face_of(standin) as url:
        key = {"apikey": standin.publishable_key}
        body = {"email": email, "password": PASSWORD}
        session = requests.post(f"{url}/auth/v1/token?grant_type=password", json=body, headers=key, timeout=10).json()
        standin.requests.clear()
        spent = {"refresh_token": session["refresh_token"]}

        def refresh(number: int) -> str:
            path = "/auth/v1/token?grant_type=refresh_token" if number % 2 else "/api/v1/auth/refresh"
            answer = requests.post(url + path, json=spent, headers=key, timeout=20)
            return str(answer.json()["access_token"])

        with ThreadPoolExecutor(20) as pool:
            tokens = set(pool.map(refresh, range(20)))

    assert len(tokens) == 1
    assert len([one for one in standin.requests if "/token" in one.path]) == 1
