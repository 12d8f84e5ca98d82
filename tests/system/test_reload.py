"""New settings for a running gateway: SIGHUP, in the same workers, with all that they know."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, clean_environment, gateway
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at processes in /proc")

PASSWORD = "canary-in-the-password"
TOKEN = "canary-in-the-metrics-token"
AUTH = "/api/v1/auth"
ORIGIN = "https://new.example.com"
IN_FORCE = "new settings are in force in this worker"
KEPT = "kept the old"
#: One account logs in many times here, which else looks like guessing.
OPEN = "AUTH_THROTTLE_SCALE=1000\n"


@dataclass
class ProcessRecords:
    """A gateway with an environment file."""

    program: Program
    file: Path

    @property
    def url(self) -> str:
        return self.program.url + AUTH

    @property
    def master(self) -> int:
        return self.program.process.pid

    @property
    def workers(self) -> list[int]:
        return sorted(map(int, Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()))

    def lines(self, message: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.program.whole_lines if line.endswith("}")]
        return [line for line in lines if message in line["message"]]

    def reload(self, text: str) -> None:
        """Change the file, tell the master, and wait until every worker has followed."""
        expected = len(self.lines(IN_FORCE)) + len(self.workers)
        self.hang_up(text)
        eventually(lambda: len(self.lines(IN_FORCE)) == expected)

    def reload_in_vain(self, text: str | None, *, complaints: int) -> list[dict[str, Any]]:
        """Change the file (None: take it away), tell the master, and return what it complains of."""
        before = len(self.lines(KEPT))
        self.hang_up(text)
        eventually(lambda: len(self.lines(KEPT)) == before + complaints)
        return self.lines(KEPT)[before:]

    def hang_up(self, text: str | None) -> None:
        if text is None:
            self.file.unlink()
        else:
            self.file.write_text(text)
        self.program.process.send_signal(signal.SIGHUP)

    def log_in(self, email: str, password: str = PASSWORD) -> requests.Response:
        return requests.post(f"{self.url}/login", json={"email": email, "password": password}, timeout=30)

    def verified(self, token: str) -> int:
        return requests.get(f"{self.url}/verify", headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code

    def allows(self, origin: str) -> bool:
        answer = requests.get(f"{self.url}/ping", headers={"Origin": origin}, timeout=10)
        return answer.headers.get("Access-Control-Allow-Origin") == origin

    def logins_counted(self, token: str) -> float:
        answer = requests.get(f"{self.program.url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        counts = [line for line in answer.text.splitlines() if line.startswith("velro_auth_logins_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in counts)


@pytest.fixture
def email(standin: Standin) -> str:
    address = f"reload-{random.getrandbits(48):x}@example.com"
    standin.create_user(address, PASSWORD)
    return address


@pytest.fixture
def run(standin: Standin, tmp_path: Path) -> Iterator[Callable[..., ProcessRecords]]:
    """Return a function that starts a gateway with this environment file."""
    with contextlib.ExitStack() as stack:

        def start(text: str, **more: str) -> ProcessRecords:
            file = tmp_path / "velro.env"
            file.write_text(text)
            environment = {
                "SUPABASE_URL": standin.url,
                "SUPABASE_SECRET_KEY": standin.secret_key,
                "AUTH_ENV_FILE": str(file),
                "AUTH_FAILURE_FLOOR_MS": "0",
                **more,
            }
            running = ProcessRecords(stack.enter_context(gateway(tmp_path / "log", **environment)), file)
            eventually(lambda: len(running.workers) == int(environment.get("WEB_CONCURRENCY", "1")))
            return running

        yield start


@pytest.mark.parametrize("worker_class", ["velro_auth.server.worker.Worker", "gthread"])
def test_new_settings_are_in_force_in_the_workers_that_run(
    run: Callable[..., ProcessRecords], email: str, worker_class: str
) -> None:
    running = run(OPEN, WEB_CONCURRENCY="2", GUNICORN_WORKER_CLASS=worker_class, LOG_LEVEL="error")
    workers = running.workers
    assert "X-Fastlane-Time-Ms" in running.log_in(email).headers
    assert not running.allows(ORIGIN)
    assert not running.lines("POST /api/v1/auth/login")

    running.reload(
        f"{OPEN}CORS_ORIGINS={ORIGIN}\nAUTH_FAST_LOGIN=off\nAUTH_MAX_BODY_BYTES=1024\nLOG_LEVEL=info\n"
        f"METRICS_TOKEN='{TOKEN}'\nAUTH_P95_CRITICAL=2000\nGUNICORN_THREADS=8\n"
    )

    assert running.workers == workers
    # Enough for both workers to have their turn.
    assert all(running.allows(ORIGIN) for _ in range(8))
    answers = [running.log_in(email) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("X-Fastlane-Time-Ms" in answer.headers for answer in answers)
    assert running.log_in(email, "x" * 2000).status_code == 413
    flags = requests.get(f"{running.program.url}/__version", timeout=10).json()["flags"]
    assert flags == {"auth_fast_login": False}
    eventually(lambda: len(running.lines("POST /api/v1/auth/login 200")) == 8)
    (told,) = running.lines("the settings were read anew")
    assert told["changed"]["CORS_ORIGINS"] == f"none -> {ORIGIN}"
    assert told["changed"]["AUTH_P95_CRITICAL"] == "1000.0 -> 2000.0"
    assert [line["variable"] for line in running.lines("needs a restart")] == ["GUNICORN_THREADS"]
    assert TOKEN not in running.program.output


def test_a_mistake_keeps_the_old_settings_and_says_so(run: Callable[..., ProcessRecords]) -> None:
    running = run(f"CORS_ORIGINS={ORIGIN}\n")

    found = running.reload_in_vain("CORS_ORIGINS=*\nLOG_LEVEL=loud\nAUTH_FAST_LOGIN=0\n", complaints=2)
    assert [line["variable"] for line in found] == ["CORS_ORIGINS", "LOG_LEVEL"]
    assert {line["level"] for line in found} == {"error"}
    (line,) = running.reload_in_vain("CORS_ORIGINS=https://other.example.com\nno line of a file\n", complaints=1)
    assert line["variable"] == "AUTH_ENV_FILE"
    (line,) = running.reload_in_vain(None, complaints=1)
    assert "No such file" in line["advice"]
    # The value kept contradicts the new one.
    (line,) = running.reload_in_vain("GUNICORN_THREADS=128\nLOGIN_CONCURRENCY=100\n", complaints=1)
    assert line["variable"] == "LOGIN_CONCURRENCY"

    assert running.allows(ORIGIN)
    assert requests.get(f"{running.program.url}/__version", timeout=10).json()["flags"]["auth_fast_login"] is True
    running.reload("CORS_ORIGINS=https://other.example.com\n")
    assert running.allows("https://other.example.com")
    assert not running.allows(ORIGIN)


def test_nothing_that_was_learnt_is_lost(run: Callable[..., ProcessRecords], email: str, tmp_path: Path) -> None:
    """Who logged out stays out, who guessed has no fresh guesses, and counts go on."""
    trail = tmp_path / "audit.jsonl"
    running = run("", AUDIT_FILE=str(trail))
    token = running.log_in(email).json()["access_token"]
    assert running.verified(token) == 200
    requests.post(f"{running.url}/logout", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    statuses = [running.log_in(email, "wrong").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    assert running.verified(token) == 401

    running.reload(f"CORS_ORIGINS={ORIGIN}\nAUTH_THROTTLE_SCALE=1.01\nMETRICS_TOKEN={TOKEN}\nAUTH_REPLICAS=1\n")

    assert running.verified(token) == 401
    assert running.log_in(email).status_code == 429
    eventually(lambda: running.logins_counted(TOKEN) == 8)
    running.reload("AUTH_THROTTLE_SCALE=1000\n")
    assert running.log_in(email).status_code == 200
    running.program.stop()
    command = [sys.executable, "-m", "velro_auth", "audit", "verify", str(trail)]
    subprocess.run(command, env=clean_environment(), cwd=ROOT, check=True, capture_output=True)
    records = [json.loads(line) for line in trail.read_text().splitlines()]
    assert len({record["chain"] for record in records}) == 1


def test_no_request_fails_while_settings_change(run: Callable[..., ProcessRecords], email: str) -> None:
    running = run(OPEN, WEB_CONCURRENCY="2")
    is_over = threading.Event()
    statuses: list[int] = []

    def client(call: Callable[[requests.Session], requests.Response]) -> None:
        with requests.Session() as session:
            while not is_over.is_set():
                statuses.append(call(session).status_code)

    body = {"email": email, "password": PASSWORD}
    calls: list[Callable[[requests.Session], requests.Response]] = [
        lambda session: session.get(f"{running.url}/ping", timeout=10),
        lambda session: session.post(f"{running.url}/login", json=body, timeout=10),
        lambda _: requests.post(f"{running.url}/login", json=body, timeout=10),
    ]
    threads = [threading.Thread(target=client, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        for fast, concurrency in ((0, 6), (1, 12)):
            seen = len(statuses)
            running.reload(f"{OPEN}AUTH_FAST_LOGIN={fast}\nLOGIN_CONCURRENCY={concurrency}\n")
            eventually(lambda seen=seen: len(statuses) > seen + 30)  # type: ignore[misc]
    finally:
        is_over.set()
        for thread in threads:
            thread.join()

    assert set(statuses) == {200}


def test_twenty_reloads_leave_nothing_behind(run: Callable[..., ProcessRecords]) -> None:
    running = run("")
    (worker,) = running.workers

    def traces() -> list[int]:
        places = [f"/proc/{pid}/{what}" for pid in (running.master, worker) for what in ("fd", "task")]
        return [sum(1 for _ in Path(place).iterdir()) for place in places]

    for number in range(2):
        running.reload(f"LOG_PROBES_EVERY={number + 5}\n")
    eventually(lambda: traces()[1] == 1)
    before, resident = traces(), resident_mib(running.master)

    for number in range(20):
        # The worker may miss some of them.
        running.hang_up(f"LOG_PROBES_EVERY={number + 10}\nCORS_ORIGINS={ORIGIN}\n")
        eventually(lambda told=number + 3: len(running.lines("the settings were read anew")) == told)  # type: ignore[misc]
    eventually(lambda: running.allows(ORIGIN))

    # Not at once: the connection of the last request lingers.
    eventually(lambda: all(now <= then for now, then in zip(traces(), before, strict=True)))
    assert resident_mib(running.master) < resident + 16


def test_a_worker_that_comes_later_has_the_new_settings(run: Callable[..., ProcessRecords]) -> None:
    """And the signal, when all processes get it, ends none of them."""
    running = run("")
    (worker,) = running.workers
    running.reload(f"CORS_ORIGINS={ORIGIN}\n")
    os.kill(worker, signal.SIGHUP)
    assert running.allows(ORIGIN)
    assert running.workers == [worker]

    os.kill(worker, signal.SIGKILL)
    eventually(lambda: running.workers not in ([worker], []))

    assert running.allows(ORIGIN)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
