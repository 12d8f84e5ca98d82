"""The steps that build the image, as plain commands in an empty folder; and what its last stage starts.

No container engine is needed. What only an engine does (layers, users, the read-only file system) is not tested here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.dockerfile import ROOT, of, stages
from tests.fixtures.programs import Program, clean_environment, free_port
from tests.fixtures.standin import fast_place, temporary_folder
from tests.waiting import PATIENCE_S, eventually

BUILD, FINAL = stages()


@pytest.fixture
def prefix() -> Iterator[Path]:
    """A folder in place of the image's root, in which the build stage has run."""
    with temporary_folder(fast_place()) as root:
        _build(root)
        yield root


def _build(root: Path) -> None:
    (source := root / "src").mkdir()
    for name, rest in BUILD:
        if name == "COPY":
            for path in rest.split()[:-1]:
                _copy(ROOT / path, source)
        elif name == "RUN":
            words = [sys.executable if word == "python" else word for word in shlex.split(rest)]
            command = [word.replace("/opt/", f"{root}/opt/") for word in words]
            done = subprocess.run(
                command, cwd=source, env=clean_environment(), capture_output=True, text=True, check=False, timeout=280
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"


def _copy(path: Path, folder: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(path, folder)


@pytest.mark.slow
def test_what_was_built_serves_and_ends_and_has_nothing_of_development(prefix: Path, tmp_path: Path) -> None:
    script = prefix / "opt" / "velro-auth" / "bin" / "velro-auth"
    variables = clean_environment(**_environment(), PORT=str(free_port()))
    output = tmp_path / "serve.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [script, "serve"], cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    running = Program(process, output)
    try:
        running.wait_for("Listening at: ")
        # The engine asks in this way.
        eventually(lambda: _health(script, variables).returncode == 0, or_say=lambda: running.output)
        status = running.stop(signal.SIGTERM)
        after = _health(script, variables)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE_S)

    assert status == 0
    assert after.returncode == 1
    assert "does not answer" in after.stderr
    packages = {path.name.partition("-")[0] for path in (prefix / "opt" / "velro-auth").rglob("*.dist-info")}
    assert {"velro_auth", "flask", "gunicorn"} <= packages
    assert not {"pip", "setuptools", "pytest", "bcrypt", "uv"} & packages


def _environment() -> dict[str, str]:
    (given,) = of(FINAL, "ENV")
    found = dict(re.findall(r"(\w+)=(\S+)", given))
    return {name: value for name, value in found.items() if name not in {"PATH", "GIT_COMMIT"}}


def _health(script: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, "health"], env=variables, capture_output=True, text=True, check=False, timeout=60)
