"""The stand-in as a process of its own, as ``velro-auth dev`` runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.fixtures.programs import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
QUICK = ("--not-durable", "--bcrypt-cost", "4")


@pytest.fixture
def data_dir(open_folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=open_folder, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "data"


def command(data_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "supabase_standin", "--data-dir", str(data_dir), *QUICK, *options]


@contextlib.contextmanager
def running(data_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the stand-in; yield the process and the line it announces itself with."""
    with subprocess.Popen(
        command(data_dir, *options), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=20)


def refused(data_dir: Path, *options: str, **environment: str) -> str:
    """Run the stand-in, which must refuse; return the sentence it says."""
    ended = subprocess.run(
        command(data_dir, *options),
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    return ended.stderr.strip().splitlines()[-1]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def postmaster_of(line: dict[str, Any]) -> int:
    """Return the pid of the PostgreSQL behind it: the parent of any of its backends."""
    with psycopg.connect(line["database_dsn"]) as connection:
        backend = connection.info.backend_pid
        return int(Path(f"/proc/{backend}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_it_says_where_it_is_in_one_line(data_dir: Path) -> None:
    with running(data_dir) as (process, line):
        response = requests.get(line["url"] + "/auth/v1/health", headers={"apikey": line["publishable_key"]}, timeout=5)
        with psycopg.connect(line["database_dsn"]) as connection:
            user = connection.execute("select current_user").fetchone()

        assert line["pid"] == process.pid
        assert set(line) == {
            "url",
            "publishable_key",
            "secret_key",
            "database_dsn",
            "pid",
            "control_token",
        }
        assert response.status_code == 200
        assert user == ("postgres",)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_told(data_dir: Path, number: signal.Signals) -> None:
    with running(data_dir) as (process, line):
        postmaster = postmaster_of(line)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == 0
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("listening on http://127.0.0.1:")
    assert not is_alive(postmaster)
    left = {path.name for path in (data_dir / "postgres").iterdir()}
    assert left == {"pgdata", "password", "postgres.log"}


def test_what_takes_a_moment_is_said_on_stderr(data_dir: Path) -> None:
    with running(data_dir) as (process, _):
        process.terminate()
        _, stderr = process.communicate(timeout=20)

    assert [line.split(" in ")[0].split(" on ")[0] for line in stderr.splitlines()] == [
        "creating the database",
        "starting PostgreSQL",
        "preparing the database",
        "listening",
    ]


def test_users_and_tokens_survive_a_restart(data_dir: Path) -> None:
    port = str(free_port())
    account = {"email": "ada@example.com", "password": "correct horse"}
    with running(data_dir, "--port", port) as (_, line):
        url, headers = line["url"], {"apikey": line["publishable_key"]}
        made = requests.post(f"{url}/auth/v1/signup", json=account, headers=headers, timeout=5).json()

    with running(data_dir, "--port", port) as (process, _):
        bearer = {"Authorization": f"Bearer {made['access_token']}"}
        seen = requests.get(f"{url}/auth/v1/user", headers=headers | bearer, timeout=5)
        process.terminate()
        _, said = process.communicate(timeout=20)

    assert seen.status_code == 200
    assert seen.json()["email"] == "ada@example.com"
    assert "creating" not in said


def test_it_ends_with_its_parent(data_dir: Path) -> None:
    """The parent here is a shell that is killed before it can tell anybody."""
    shell = subprocess.Popen(
        ["sh", "-c", '"$@" & echo $!; wait', "sh", *command(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    line = json.loads(shell.stdout.readline())
    postmaster = postmaster_of(line)

    shell.kill()
    shell.communicate(timeout=20)

    eventually(lambda: not is_alive(pid) and not is_alive(postmaster))


def test_it_does_not_run_in_a_deployment(data_dir: Path) -> None:
    sentence = refused(data_dir, RAILWAY_ENVIRONMENT_NAME="production")

    assert "RAILWAY_ENVIRONMENT_NAME is set" in sentence
    assert not data_dir.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])  # noqa: S104 - refused
def test_it_listens_on_loopback_only(data_dir: Path, host: str) -> None:
    assert refused(data_dir, "--host", host) == f"The stand-in listens on loopback only, not on {host}."


def test_a_taken_port_is_named(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        sentence = refused(data_dir, "--port", str(port))

    assert sentence == f"Port {port} of 127.0.0.1 cannot be used (Address already in use): choose another one."


def test_a_folder_that_cannot_be_written_is_named(data_dir: Path) -> None:
    data_dir.parent.mkdir(exist_ok=True)
    data_dir.write_text("a file")

    assert refused(data_dir / "data") == (
        f"{data_dir / 'data'} is not writable (Not a directory): choose another folder."
    )


def test_a_second_one_on_the_same_folder_is_told_so(data_dir: Path) -> None:
    with running(data_dir) as (process, _):
        sentence = refused(data_dir)

    assert f"already runs in {data_dir / 'postgres'} (process {process.pid})" in sentence
