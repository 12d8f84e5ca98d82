"""The local Supabase as a process of its own: then the load of a scenario takes none of its time.

In the lab's own process it shares the interpreter with hundreds of threads that send requests. That costs single
logins up to 50 ms (measured), which is more than some scenarios allow the gateway.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import requests

from tests.fixtures.programs import ROOT, clean_environment

_TIMEOUT_S: Final = 30.0


class StandinProcess:
    """A running local Supabase.

    Args:
        told: What it said about itself when it had started.

    Attributes:
        url: Its address.
        publishable_key: The key of frontends.
        secret_key: The key of the gateway.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.url: str = told["url"]
        self.publishable_key: str = told["publishable_key"]
        self.secret_key: str = told["secret_key"]
        self._control = {"Authorization": f"Bearer {told['control_token']}"}

    def create_user(self, email: str, password: str) -> str:
        """Make an account with a confirmed address; return its id."""
        answer = requests.post(
            f"{self.url}/auth/v1/admin/users",
            json={"email": email, "password": password, "email_confirm": True},
            headers={"apikey": self.secret_key, "Authorization": f"Bearer {self.secret_key}"},
            timeout=_TIMEOUT_S,
        )
        assert answer.ok, answer.text
        return str(answer.json()["id"])

    def be_late(self, path: str, seconds: float) -> None:
        """Answer each request for *path* late."""
        fault = {"kind": "latency", "path": path, "seconds": seconds}
        answer = requests.post(f"{self.url}/_standin/faults", json=fault, headers=self._control, timeout=_TIMEOUT_S)
        assert answer.ok, answer.text

    def answered_late(self) -> int:
        """Return how many requests were answered late so far."""
        answer = requests.get(f"{self.url}/_standin/faults", headers=self._control, timeout=_TIMEOUT_S)
        assert answer.ok, answer.text
        return sum(fault["fired"] for fault in answer.json())


@contextlib.contextmanager
def running_standin(folder: Path) -> Iterator[StandinProcess]:
    """Run the local Supabase; its data is in *folder*."""
    command = ["-m", "supabase_standin", "--data-dir", str(folder), "--bcrypt-cost", "4", "--not-durable"]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            yield StandinProcess(json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait(60)
