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
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.fixtures.programs import PATIENCE_S, ROOT, clean_environment, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes can be made small on Linux only")

REQUESTS = 400


class Blocked:
    """A gateway that writes into a pipe of four kilobytes."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}", "--workers", "1"],
            env=clean_environment(LOG_PROBES_EVERY="1", SUPABASE_URL="http://127.0.0.1:9"),
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
def blocked() -> Iterator[Blocked]:
    blocked = Blocked()
    give_up = time.monotonic() + PATIENCE_S
    while not blocked.is_up():
        assert time.monotonic() < give_up
        time.sleep(0.05)
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
