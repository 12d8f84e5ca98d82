"""The service as it is deployed: gunicorn, a process of its own, real sockets."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, clean_environment, gateway, program
from tests.waiting import eventually

LOGIN = "/api/v1/auth/login"
GOOD = {"email": "system@example.com", "password": "correct horse battery staple"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def account(standin_with: Callable[..., Standin]) -> dict[str, str]:
    standin_with().create_user(GOOD["email"], GOOD["password"])
    return GOOD


@contextlib.contextmanager
def deployed(standin: Standin, folder: Path) -> Iterator[Program]:
    with gateway(
        folder / "gateway.log",
        SUPABASE_URL=standin.url,
        SUPABASE_SECRET_KEY=standin.secret_key,
        UPSTREAM_DEADLINE_S="2",
        # One account logs in many times at once here, which else looks like guessing.
        AUTH_THROTTLE_SCALE="1000",
        PYTHONPATH=str(without_greenlet(folder)),
    ) as service:
        yield service


@pytest.fixture(scope="module")
def running(
    standin_with: Callable[..., Standin], account: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """One service for all tests that leave it as it was."""
    with deployed(standin_with(), tmp_path_factory.mktemp("gateway")) as service:
        yield service


@pytest.fixture
def own(standin: Standin, account: dict[str, str], tmp_path: Path) -> Iterator[Program]:
    """A service of the test's own, which it may stop, or whose worker it looks at."""
    with deployed(standin, tmp_path) as service:
        yield service


def without_greenlet(folder: Path) -> Path:
    """Return a folder that hides greenlet: Playwright brings it along, structlog would load it, production lacks it."""
    (folder / "hidden").mkdir()
    (folder / "hidden" / "greenlet.py").write_text("raise ImportError", "utf-8")
    return folder / "hidden"


def test_it_logs_in_through_the_fast_lane(running: Program) -> None:
    response = requests.post(running.url + LOGIN, json=GOOD, timeout=10)

    assert response.status_code == 200
    assert "X-Fastlane-Time-Ms" in response.headers
    assert response.headers["Cache-Control"] == "no-store"
    assert {"access_token", "refresh_token", "user"} <= response.json().keys()


def test_probes_tell_their_lane_and_answer_head(running: Program) -> None:
    assert requests.get(running.url + "/health", timeout=10).json()["bypass_middleware"] is True
    assert requests.get(running.url + "/api/v1/auth/ping", timeout=10).json()["fastpath"] is True
    assert requests.get(running.url + "/__version", timeout=10).json()["deployment"]["id"] is None
    for path in ("/health", "/api/v1/auth/ping", "/__version"):
        assert requests.head(running.url + path, timeout=10).status_code == 200


TELLING_START = """
exec(compile(open({path!r}).read(), {path!r}, "exec"))
_after_start = post_worker_init
def post_worker_init(worker):
    import gc, os
    _after_start(worker)
    os.write(1, b"frozen: %d, threshold: %d\\n" % (gc.get_freeze_count(), gc.get_threshold()[0]))
"""


def test_a_worker_never_collects_garbage_among_what_is_loaded(tmp_path: Path) -> None:
    """A full collection takes 40 ms, in which no thread runs."""
    settings = tmp_path / "telling.conf.py"
    settings.write_text(TELLING_START.format(path=str(ROOT / "gunicorn.conf.py")), "utf-8")
    with gateway(tmp_path / "gateway.log", "--config", str(settings), AUTH_ENV_FILE="") as service:
        service.wait_for("frozen: ")
        service.stop()
        told = re.search(r"frozen: (\d+), threshold: (\d+)\n", service.output)

    assert told is not None
    assert int(told[1]) > 10_000
    # Not for every few requests: they leave no garbage.
    assert int(told[2]) >= 2500


SLOW_START = """
exec(compile(open({path!r}).read(), {path!r}, "exec"))
_after_fork = post_fork
def post_fork(server, worker):
    import os, time
    _after_fork(server, worker)
    os.write(1, b"starting\\n")
    time.sleep(60)
"""


def test_a_worker_that_is_told_to_stop_while_it_starts_stops(tmp_path: Path) -> None:
    """Else the signal meets the master's handler, which came along with the fork, and is forgotten."""
    settings = tmp_path / "slow.conf.py"
    settings.write_text(SLOW_START.format(path=str(ROOT / "gunicorn.conf.py")), "utf-8")
    command = ["-m", "gunicorn", "wsgi:app", "--bind", "127.0.0.1:0", "--config", str(settings)]
    with program(command, tmp_path / "gateway.log", AUTH_ENV_FILE="") as running:
        running.wait_for("starting")

        started_s = time.monotonic()
        status = running.stop(signal.SIGTERM)

    assert status == 0
    # The master would kill it after 25 s.
    assert time.monotonic() - started_s < 20


def test_wrong_settings_do_not_keep_it_from_starting(tmp_path: Path) -> None:
    with gateway(tmp_path / "gateway.log", SUPABASE_URL="ftp://nowhere", GUNICORN_THREADS="many") as service:
        response = requests.post(service.url + LOGIN, json=GOOD, timeout=10)

        assert (response.status_code, response.json()["code"]) == (503, "upstream_misconfigured")
        assert {"SUPABASE_URL", "SUPABASE_SECRET_KEY", "GUNICORN_THREADS"} <= {
            json.loads(line).get("variable") for line in service.whole_lines
        }


def test_sigterm_lets_accepted_logins_finish(own: Program, standin: Standin) -> None:
    standin.faults.on("latency", path="/auth/v1/token", seconds=1.0)
    answers: list[int] = []

    def log_in() -> None:
        answers.append(requests.post(own.url + LOGIN, json=GOOD, timeout=10).status_code)

    threads = [threading.Thread(target=log_in) for _ in range(10)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(standin.requests.of("/auth/v1/token")) == 10)
    status = own.stop(signal.SIGTERM)
    for thread in threads:
        thread.join()

    assert answers == [200] * 10
    assert status == 0


def test_a_login_worker_is_small_and_has_no_client_library_in_it(own: Program) -> None:
    for _ in range(5):
        requests.post(own.url + LOGIN, json=GOOD, timeout=10)
    (worker,) = _children(own.process.pid)

    assert _resident_mib(worker) <= 60
    # Compiled parts of what supabase and httpx would bring along.
    maps = Path(f"/proc/{worker}/maps").read_text()
    assert "pydantic_core" not in maps


def test_neither_supabase_nor_an_extra_is_imported_by_a_login(standin: Standin, account: dict[str, str]) -> None:
    script = (
        "import sys\n"
        "from wsgi import app\n"
        "from werkzeug.test import Client\n"
        f"answer = Client(app).post('{LOGIN}', json={GOOD!r})\n"
        "assert answer.status_code == 200, answer.data\n"
        "heavy = {'supabase', 'httpx', 'postgrest', 'pydantic', 'opentelemetry', 'rich', 'sentry_sdk'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    for flag, imported in (("1", "[]"), ("0", "['httpx', 'postgrest', 'pydantic', 'rich', 'supabase']")):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=clean_environment(
                SUPABASE_URL=standin.url, SUPABASE_SECRET_KEY=standin.secret_key, AUTH_FAST_LOGIN=flag
            ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == imported


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: -1\r\n",
        "Content Length: 2\r\n",
    ],
)
def test_a_request_that_two_readers_could_read_differently_is_refused(running: Program, head: str) -> None:
    """Request smuggling (ASVS 4.2.1)."""
    answer = _raw(running, f"POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{head}\r\n{{}}")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_chunked_body_is_read_and_bounded(running: Program) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield json.dumps(GOOD).encode()
        for _ in range(count):
            yield b" " * 1000

    assert requests.post(running.url + LOGIN, data=chunks(3), headers=JSON, timeout=10).status_code == 200
    assert requests.post(running.url + LOGIN, data=chunks(30), headers=JSON, timeout=10).status_code == 413


@pytest.mark.parametrize("chunk", ["zz", "-5", "5;ext=1;"])
def test_a_chunk_that_is_none_is_the_caller_s_mistake(running: Program, chunk: str) -> None:
    """And what follows it is nobody's next request."""
    head = "Host: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    follows = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

    answer = _raw(running, f"POST {LOGIN} HTTP/1.1\r\n{head}{chunk}\r\n{{}}\r\n{follows}")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert "unexpected error" not in running.output


def _raw(program: Program, request: str) -> bytes:
    host, port = program.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(request.encode())
        answer = b""
        while more := sock.recv(65536):
            answer += more
    return answer


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
