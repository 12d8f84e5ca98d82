"""``/auth/v1`` under gunicorn, with several processes and the official clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from supabase_standin import Standin
from tests.contract.face_lab import ENVIRONMENT
from tests.contract.test_face_client_calls import DIFFERENT
from tests.contract.test_standin_client_calls import JS, MET, NEEDS_NODE, TIMEOUT_S
from tests.fixtures.client_calls import PythonCalls
from tests.fixtures.programs import Program, gateway
from tests.fixtures.redis import RedisServer, running_redis
from tests.fixtures.standin import PASSWORD, new_email
from tests.system.test_guards import FREE_GUESSES, log_in, redis_lines, somewhere
from tests.waiting import eventually


@pytest.fixture
def project(standin_with: Callable[..., Standin]) -> Standin:
    return standin_with(mail_interval_s=0.0)


@contextlib.contextmanager
def two_processes(project: Standin, redis: RedisServer, folder: Path) -> Iterator[Program]:
    environment = {
        **ENVIRONMENT,
        "SUPABASE_URL": project.url,
        "SUPABASE_PUBLISHABLE_KEY": project.publishable_key,
        "SUPABASE_SECRET_KEY": project.secret_key,
        "REDIS_URL": redis.url,
        "WEB_CONCURRENCY": "2",
    }
    with gateway(folder / "gateway.log", **environment) as started:
        yield started


@pytest.fixture
def program(project: Standin, own_redis: RedisServer, tmp_path: Path) -> Iterator[Program]:
    with two_processes(project, own_redis, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def unharmed(standin_with: Callable[..., Standin], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One service for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_redis() as redis, two_processes(standin_with(mail_interval_s=0.0), redis, folder) as started:
        yield started


@pytest.mark.timeout(TIMEOUT_S + 60)
@NEEDS_NODE
def test_every_call_of_supabase_js(project: Standin, program: Program) -> None:
    command = ["node", "calls.mjs", program.url, project.publishable_key, project.secret_key, project.url]
    done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    wanted = {name: met["autoconfirm"] for name, met in MET["supabase-js"].items()}
    assert json.loads(done.stdout) == wanted | DIFFERENT


def test_every_call_of_supabase_py(project: Standin, program: Program) -> None:
    assert PythonCalls(project, program.url).all() == MET["supabase-py"]


def test_one_refresh_for_twenty_callers_of_both_processes(project: Standin, program: Program) -> None:
    email, key = new_email(), {"apikey": project.publishable_key}
    project.create_user(email, PASSWORD)
    body = {"email": email, "password": PASSWORD}
    token = f"{program.url}/auth/v1/token?grant_type="
    project.requests.clear()
    session = requests.post(f"{token}password", json=body, headers=key, timeout=10).json()

    def refresh(_: int) -> str:
        spent = {"refresh_token": session["refresh_token"]}
        answer = requests.post(f"{token}refresh_token", json=spent, headers=key, timeout=20).json()
        return str(answer["access_token"] + answer["user"]["email"])

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(refresh, range(20)))) == 1
    # The login may be noted only now: that happens after its answer.
    assert len([one for one in project.requests if one.query == "grant_type=refresh_token"]) == 1


def test_500_parallel_guesses_through_both_faces_meet_one_limit(
    project: Standin, own_redis: RedisServer, tmp_path: Path
) -> None:
    """Counted before asking, over two processes; the owner's network is not held back by them."""
    environment = {
        **ENVIRONMENT,
        "SUPABASE_URL": project.url,
        "SUPABASE_PUBLISHABLE_KEY": project.publishable_key,
        "SUPABASE_SECRET_KEY": project.secret_key,
        "REDIS_URL": own_redis.url,
        "WEB_CONCURRENCY": "2",
        "AUTH_THROTTLE_SCALE": "1",
        # "auto" has each process ask Supabase a question of its own.
        "AUTH_CAPTCHA": "off",
        "LOGIN_QUEUE_S": "10",
    }
    email, home, start = new_email(), somewhere(), threading.Barrier(500)
    project.create_user(email, PASSWORD)
    grant = {"path": "/auth/v1/token?grant_type=password", "key": project.publishable_key}
    with gateway(tmp_path / "guessed.log", **environment) as guessed:
        project.requests.clear()
        assert log_in(guessed, email, PASSWORD, home, **grant) == 200
        # It may be noted only now: that happens after its answer.
        eventually(lambda: len(project.requests.of("/auth/v1/token")) == 1)
        project.requests.clear()

        def guess(number: int) -> int:
            address = somewhere()
            start.wait()
            return log_in(guessed, email, "wrong", address, **(grant if number % 2 else {}))

        with ThreadPoolExecutor(500) as pool:
            statuses = Counter(pool.map(guess, range(500)))
        reached = len(project.requests.of("/auth/v1/token"))
        last = (log_in(guessed, email, PASSWORD, somewhere(), **grant), log_in(guessed, email, PASSWORD, home, **grant))

    assert (reached, statuses[400] + statuses[401]) == (FREE_GUESSES, FREE_GUESSES), (statuses, redis_lines(guessed))
    assert set(statuses) <= {400, 401, 429, 503}
    assert last == (429, 200)


def test_bodies_of_one_to_sixteen_kib_pass_whole(project: Standin, program: Program) -> None:
    """With a length and in chunks; one byte more than the limit is refused before Supabase is asked."""
    email, key = new_email(), project.publishable_key
    project.create_user(email, PASSWORD)
    address = urlsplit(program.url).netloc
    connection = http.client.HTTPConnection(address, timeout=30)

    def call(method: str, path: str, content: bytes, token: str, *, pieces: int = 0) -> tuple[int, dict[str, Any]]:
        headers = {"apikey": key, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = iter([content[at : at + pieces] for at in range(0, len(content), pieces)]) if pieces else content
        connection.request(method, f"/auth/v1{path}", body, headers, encode_chunked=bool(pieces))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def change(size: int, pieces: int = 0) -> tuple[int, dict[str, Any]]:
        frame = json.dumps({"data": {"text": ""}}).encode()
        text = "".join(map(str, range(size)))[: size - len(frame)]
        content = json.dumps({"data": {"text": text}}).encode()
        assert len(content) == size
        status, answer = call("PUT", "/user", content, token, pieces=pieces)
        assert status != 200 or answer["user_metadata"]["text"] == text
        return status, answer

    grant = json.dumps({"email": email, "password": PASSWORD}).encode()
    token = call("POST", "/token?grant_type=password", grant, key)[1]["access_token"]
    passed = [change(size, pieces)[0] for size in (1024, 4096, 16 * 1024) for pieces in (0, 700)]
    project.requests.clear()
    refused = [change(16 * 1024 + 1), change(16 * 1024 + 1, 700)]
    connection.close()

    assert passed == [200] * 6
    assert [(status, answer["error_code"]) for status, answer in refused] == [(413, "request_entity_too_large")] * 2
    assert [one for one in project.requests if one.method == "PUT"] == []


@pytest.mark.parametrize(
    "line",
    [
        "GET /auth/v1/../auth/v1/admin/users",
        "GET /auth/v1/%61dmin/users",
        "GET /auth/v1//admin/users",
        "GET //auth/v1/settings",
        "GET /auth/v1/settings/..%2fadmin/users",
        "GET http://other.example/auth/v1/admin/users",
        "get /auth/v1/settings",
        "GET /AUTH/v1/settings",
        "GET /auth/v1/setting%73",
        "GET /auth/v1/settings;a",
        "GET /auth/v1/settings\\..\\admin",
    ],
)
def test_hostile_request_lines_reach_nothing(line: str, project: Standin, unharmed: Program) -> None:
    """As bytes, because clients would tidy them up."""
    project.requests.clear()
    port = int(unharmed.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        head = f"{line} HTTP/1.1\r\nHost: a\r\napikey: {project.publishable_key}\r\nConnection: close\r\n\r\n"
        raw.sendall(head.encode())
        answer = b""
        while piece := raw.recv(65536):
            answer += piece

    assert answer.split(b" ")[1] in {b"400", b"404", b"405"}
    assert [one.path for one in project.requests if one.path.startswith("/auth/v1/admin")] == []
    assert [one.path for one in project.requests if one.path == "/auth/v1/settings"] == []
