"""``velro-auth reload``: the service that is meant, and no other process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.fixtures.programs import ROOT, Program, clean_environment, gateway
from tests.waiting import PATIENCE_S, eventually

ORIGIN = "https://new.example.com"


@dataclass
class Service:
    """A gateway with an environment file."""

    program: Program
    file: Path

    @property
    def port(self) -> str:
        return self.program.url.rpartition(":")[2]

    def allows(self, origin: str) -> bool:
        answer = requests.get(f"{self.program.url}/api/v1/auth/ping", headers={"Origin": origin}, timeout=10)
        return answer.headers.get("Access-Control-Allow-Origin") == origin


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts a gateway; all of one test share a folder of records."""
    with contextlib.ExitStack() as stack:

        def start(name: str = "one", **more: str) -> Service:
            file = tmp_path / f"{name}.env"
            file.write_text("")
            environment = {
                "SUPABASE_URL": "http://127.0.0.1:9",
                "SUPABASE_SECRET_KEY": "sb_secret_of_the_reload_command",
                "UPSTREAM_WARM_CONNECTIONS": "0",
                "AUTH_ENV_FILE": str(file),
                "AUTH_RUN_DIR": str(tmp_path / "run"),
                **more,
            }
            return Service(stack.enter_context(gateway(tmp_path / f"{name}.log", **environment)), file)

        yield start


@pytest.fixture
def reload(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command."""

    def command(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "velro_auth", "reload", *options],
            env=clean_environment(**{"AUTH_RUN_DIR": str(tmp_path / "run"), **environment}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return command


Reload = Callable[..., "subprocess.CompletedProcess[str]"]


def test_new_settings_are_in_force_when_the_command_ends(run: Callable[..., Service], reload: Reload) -> None:
    service = run(WEB_CONCURRENCY="2")
    assert not service.allows(ORIGIN)
    service.file.write_text(f"CORS_ORIGINS={ORIGIN}\nMETRICS_TOKEN=canary\nGUNICORN_THREADS=8\n")

    result = reload()

    # Enough for both workers to have their turn.
    assert all(service.allows(ORIGIN) for _ in range(8))
    assert result.returncode == 0, result.stderr
    assert f"CORS_ORIGINS: none -> {ORIGIN}\n" in result.stdout
    assert "GUNICORN_THREADS: has changed and needs a restart" in result.stdout
    assert f"In force in 2 workers of process {service.program.process.pid}." in result.stdout
    assert "canary" not in result.stdout


def test_nothing_new_is_told(run: Callable[..., Service], reload: Reload) -> None:
    service = run()

    result = reload()

    assert result.returncode == 0
    assert f"Nothing has changed in {service.file} that can change at run time" in result.stdout


def test_a_service_without_a_file_is_told_from_one_with_nothing_new(
    run: Callable[..., Service], reload: Reload
) -> None:
    """An operator who edited a file that is not read was told that nothing had changed, with status 0."""
    run(AUTH_ENV_FILE="")

    result = reload()

    assert result.returncode == 1
    assert "was started without AUTH_ENV_FILE" in result.stderr


def test_a_mistake_is_told_and_all_old_settings_stay(run: Callable[..., Service], reload: Reload) -> None:
    service = run()
    service.file.write_text(f"CORS_ORIGINS={ORIGIN}\nLOG_LEVEL=loud\nCORS_ALLOW_HEADERS=*\n")

    result = reload()

    assert result.returncode == 1
    assert "All old settings stay" in result.stderr
    assert "LOG_LEVEL: must be one of" in result.stderr
    assert "CORS_ALLOW_HEADERS: " in result.stderr
    assert not service.allows(ORIGIN)
    service.file.write_text(f"CORS_ORIGINS={ORIGIN}\n")
    assert reload().returncode == 0
    assert service.allows(ORIGIN)


def test_a_service_that_started_wrong_needs_a_restart(run: Callable[..., Service], reload: Reload) -> None:
    run(SUPABASE_URL="nonsense")

    result = reload()

    assert result.returncode == 1
    assert "needs a restart" in result.stderr


def test_without_a_service_it_says_where_it_looked(reload: Reload, tmp_path: Path) -> None:
    result = reload()

    assert result.returncode == 1
    assert f"No running service has a record in {tmp_path / 'run'}" in result.stderr


def test_of_several_services_one_is_named(run: Callable[..., Service], reload: Reload) -> None:
    first, second = run("one"), run("two")
    for service in (first, second):
        service.file.write_text(f"CORS_ORIGINS={ORIGIN}\n")

    either = reload()
    neither = reload("--port", "1")
    by_port = reload("--port", second.port)

    assert either.returncode == neither.returncode == 1
    assert "Several services run: name one with --port or --pid." in either.stderr
    assert (
        f"process {first.program.process.pid}, port {first.port}, directory {ROOT} (this directory)" in neither.stderr
    )
    assert by_port.returncode == 0
    assert (first.allows(ORIGIN), second.allows(ORIGIN)) == (False, True)
    assert reload("--pid", str(first.program.process.pid)).returncode == 0
    assert first.allows(ORIGIN)
    # The variable that the service itself is started with names it too.
    assert "Nothing has changed" in reload(PORT=first.port).stdout


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_no_other_process_gets_the_signal(
    run: Callable[..., Service], reload: Reload, tmp_path: Path, ending: signal.Signals
) -> None:
    """The number of a service that has ended may be a stranger's; the signal would end that."""
    service = run()
    service.program.stop(ending)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    forged = {"pid": bystander.pid, "ports": [int(service.port)], "reloads": 0, "outcome": None}
    (tmp_path / "run" / f"master-{bystander.pid}.json").write_text(json.dumps(forged))
    try:
        eventually(lambda: "No running service has a record" in reload().stderr)
        assert reload("--pid", str(bystander.pid)).returncode == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


def test_a_worker_that_came_later_is_counted(run: Callable[..., Service], reload: Reload) -> None:
    service = run()
    children = Path(f"/proc/{service.program.process.pid}/task/{service.program.process.pid}/children")
    worker = children.read_text().split()
    os.kill(int(worker[0]), signal.SIGKILL)
    eventually(lambda: children.read_text().split() not in ([], worker))
    service.file.write_text(f"CORS_ORIGINS={ORIGIN}\n")

    result = reload()

    assert "In force in 1 worker of process" in result.stdout
    assert service.allows(ORIGIN)


def test_without_a_folder_the_service_serves_and_warns(run: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    service = run(AUTH_RUN_DIR=str(tmp_path / "file" / "run"))

    assert "velro-auth reload will not find this process" in service.program.output
