"""``velro-auth serve`` from the wheel alone, in an empty folder, as it is after ``pip install``."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sysconfig
import threading
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import Program, await_health, clean_environment, free_port
from tests.fixtures.standin import fast_place, temporary_folder
from tests.waiting import PATIENCE_S, eventually
from tools.dist import build
from velro_auth.ops.cli.dev import DEMO_EMAIL, DEMO_PASSWORD

LOGIN = "/api/v1/auth/login"
GOOD = {"email": "wheel@example.com", "password": "correct horse battery staple"}

#: What pip writes for an entry point.
SCRIPT = "#!{python}\nimport sys\nfrom velro_auth.ops.cli import main\nsys.exit(main())\n"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command ``velro-auth`` of an environment with two wheels, and the dependencies of this one."""
    place = tmp_path_factory.mktemp("installed")
    wheels = {one.name.partition("-")[0]: one for one in build(place / "dist")}
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place / "venv")}))
    with zipfile.ZipFile(wheels["velro_auth_standin"]) as archive:
        archive.extractall(packages)
    with zipfile.ZipFile(wheels["velro_auth"]) as archive:
        archive.extractall(packages)
        assert "velro-auth = velro_auth.ops.cli:main" in archive.read(
            next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        ).decode("utf-8")
    # Read as a path only: the checkout, which is installed there in place, is not found through it.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    script = place / "venv" / "bin" / "velro-auth"
    script.write_text(SCRIPT.format(python=python))
    script.chmod(0o755)
    return script


@contextmanager
def started(command: Path, folder: Path, *words: str, **variables: str) -> Iterator[Program]:
    """Run ``velro-auth`` with those *words* in an empty *folder*; killed at the end if it still runs."""
    output = folder.parent / f"{folder.name}.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [command, *words],
            env=clean_environment(**variables),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Program(process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_S)


@contextmanager
def serving(command: Path, folder: Path, **variables: str) -> Iterator[Program]:
    """Run ``velro-auth serve`` in an empty *folder* until it answers."""
    with started(command, folder, "serve", "--bind", "127.0.0.1:0", **variables) as running:
        running.wait_for("Listening at: ")
        found = re.search(r"Listening at: (http://127\.0\.0\.1:\d+) ", running.output)
        assert found, running.output
        running.url = found[1]
        await_health(running)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


def test_it_runs_with_the_shipped_configuration_and_finishes_logins_at_sigterm(
    command: Path, folder: Path, standin_with: Callable[..., Standin]
) -> None:
    standin = standin_with()
    standin.create_user(GOOD["email"], GOOD["password"])
    settings = {"SUPABASE_URL": standin.url, "SUPABASE_SECRET_KEY": standin.secret_key}
    answers: list[int] = []

    with serving(command, folder, **settings) as running:
        standin.faults.on("latency", path="/auth/v1/token", seconds=1.0)
        thread = threading.Thread(
            target=lambda: answers.append(requests.post(running.url + LOGIN, json=GOOD, timeout=20).status_code)
        )
        thread.start()
        eventually(lambda: len(standin.requests.of("/auth/v1/token")) == 1)
        # The process that was started is gunicorn's master: nothing stands between a signal and it.
        status = running.stop(signal.SIGTERM)
        thread.join()

    assert answers == [200]
    assert status == 0
    assert "velro_auth.server.worker.Worker" in running.output
    assert list(folder.iterdir()) == []


def test_it_is_the_wheel_that_runs(command: Path, folder: Path) -> None:
    asked = [str(command.parent / "python"), "-c", "import velro_auth; print(velro_auth.__file__)"]

    found = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True, env=clean_environment())

    assert Path(found.stdout.strip()).is_relative_to(command.parent.parent)


def test_the_settings_file_of_the_folder_is_used(command: Path, folder: Path) -> None:
    (folder / ".env").write_text("METRICS_TOKEN=from-the-file-of-the-folder\nWEB_CONCURRENCY=2\n")

    with serving(command, folder) as running:
        refused = requests.get(f"{running.url}/metrics", timeout=10)
        headers = {"Authorization": "Bearer from-the-file-of-the-folder"}
        shown = requests.get(f"{running.url}/metrics", headers=headers, timeout=10)
        # The first worker may answer before the second one has begun.
        eventually(lambda: running.output.count("Booting worker") == 2, or_say=lambda: running.output)
        running.stop()

    assert (refused.status_code, shown.status_code) == (404, 200)
    assert running.output.startswith(f"Settings from {folder / '.env'}")


def test_the_configuration_is_printed_and_nothing_is_started(command: Path, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asked = [
            str(command),
            "serve",
            "--print-config",
            "--workers",
            "3",
            "--bind",
            f"127.0.0.1:{taken.getsockname()[1]}",
        ]
        done = subprocess.run(
            asked, cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=clean_environment()
        )

    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r"^(\w+)\s+= (.*)$", done.stdout, re.MULTILINE))
    assert printed["workers"] == "3"
    assert printed["worker_class"] == "velro_auth.server.worker.Worker"
    assert printed["graceful_timeout"] == "25"
    assert printed["preload_app"] == "True"


def test_the_local_project_runs_in_an_empty_folder_too(command: Path, folder: Path) -> None:
    port = free_port()
    # The account that PostgreSQL runs as has to reach the data.
    with temporary_folder(fast_place()) as place:
        words = ("dev", "--port", str(port), "--data-dir", f"{place}/data")
        with started(command, folder, *words) as running:
            running.wait_for("Stop with Ctrl-C.")
            demo = {"email": DEMO_EMAIL, "password": DEMO_PASSWORD}
            answer = requests.post(f"http://127.0.0.1:{port}{LOGIN}", json=demo, timeout=20)
            page = requests.get(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"}, timeout=20)
            files = {
                name: requests.get(f"http://127.0.0.1:{port}{name}", timeout=20)
                for name in [*re.findall(r'(?:href|src)="(/dev/assets/[^"]+)"', page.text), "/dev/assets/uplot.txt"]
            }
            status = running.stop(signal.SIGINT)

    assert answer.status_code == 200, running.output
    # The page and its files are in the wheel, the licence of the plotting library too.
    assert len(files) >= 8
    assert {name for name, file in files.items() if not file.ok} == set()
    assert status == 0
    assert list(folder.iterdir()) == []
