"""The whole gateway with a stdout that nobody reads (reliability scenario: the log sink is blocked)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, clean_environment, free_port
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes can be made small on Linux only")

REQUESTS = 400
LOGINS = 600


class Blocked:
    """A gateway that writes into a pipe of four kilobytes."""

    def __init__(self, **environment: str) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--workers", "1"],
            env=clean_environment(LOG_PROBES_EVERY="1", **environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
        )
        os.close(writing)

    def is_up(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(self.url + "/health", timeout=5).ok
        return False

    def end(self) -> list[dict[str, Any]]:
        """Read all that was written, stop the gateway, and return its lines."""
        data: list[bytes] = []

        def read() -> None:
            while piece := os.read(self.reading, 65536):
                data.append(piece)

        reader = threading.Thread(target=read)
        reader.start()
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        reader.join()
        return [json.loads(line) for line in b"".join(data).splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.reading)


@pytest.fixture
def blocked(standin: Standin) -> Iterator[Blocked]:
    blocked = Blocked(
        SUPABASE_URL=standin.url,
        SUPABASE_SECRET_KEY=standin.secret_key,
        AUTH_THROTTLE_SCALE="1000",
        WEB_CONCURRENCY="1",
    )
    eventually(blocked.is_up)
    yield blocked
    blocked.close()


def test_requests_go_on_and_no_line_is_lost_once_somebody_reads_again(blocked: Blocked) -> None:
    took_s = []
    with requests.Session() as session:
        for number in range(REQUESTS):
            started = time.monotonic()
            response = session.get(blocked.url + "/health", headers={"X-Request-ID": f"r-{number}"}, timeout=5)
            took_s.append(time.monotonic() - started)
            assert response.status_code == 200

    lines = blocked.end()

    assert sorted(took_s)[int(0.99 * REQUESTS)] < 0.5
    answered = {line["request_id"] for line in lines if line["logger"] == "velro_auth.access"}
    assert {f"r-{number}" for number in range(REQUESTS)} <= answered


def test_no_login_is_affected_and_no_line_of_one_is_lost(blocked: Blocked, standin: Standin) -> None:
    """So many as come in 30 s at 20 a second, and nobody reads meanwhile."""
    email, password = f"blocked-{uuid.uuid4().hex}@example.com", "correct horse battery staple"
    standin.create_user(email, password)

    def log_in(number: int) -> int:
        answer = requests.post(
            blocked.url + "/api/v1/auth/login",
            json={"email": email, "password": password},
            headers={"X-Request-ID": f"l-{number}"},
            timeout=30,
        )
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(log_in, range(LOGINS)))

    lines = blocked.end()

    assert statuses == [200] * LOGINS
    logged = [line["request_id"] for line in lines if line["logger"] == "velro_auth.access"]
    assert {f"l-{number}" for number in range(LOGINS)} <= set(logged)
