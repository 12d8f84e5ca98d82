"""``velro-auth serve``: which settings it reads, and what gunicorn is told."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from velro_auth.ops.cli.config import config
from velro_auth.ops.cli.serve import environment, serve, settings_here


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTH_ENV_FILE", raising=False)
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """What took the process's place."""
    found: list[tuple[Sequence[str], Mapping[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _path, command, variables: found.append((command, variables)))
    return found


def run(*options: str) -> Result:
    return CliRunner().invoke(serve, options)


def test_a_file_in_this_folder_is_read_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("PORT=8001\n")

    assert environment({"A": "1"}, None) == {"A": "1", "AUTH_ENV_FILE": str(folder / ".env")}
    assert capsys.readouterr().err == f"Settings from {folder / '.env'}\n"


@pytest.mark.parametrize("named", ["/etc/velro.env", ""])
def test_a_named_file_comes_before_it_and_so_does_none(folder: Path, named: str) -> None:
    (folder / ".env").write_text("PORT=8001\n")

    assert environment({"AUTH_ENV_FILE": named}, None) == {"AUTH_ENV_FILE": named}


def test_the_option_comes_first(folder: Path) -> None:
    (folder / ".env").write_text("PORT=8001\n")

    found = environment({"AUTH_ENV_FILE": "/etc/velro.env"}, Path("other.env"))

    assert found == {"AUTH_ENV_FILE": str(folder / "other.env")}


def test_what_checks_the_settings_reads_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)
    (folder / ".env").write_text("PORT=8001\n")

    found = CliRunner().invoke(config, ["check", "--json"])

    assert f"Settings from {folder / '.env'}" in found.stderr
    assert settings_here().port == 8001


def test_without_a_file_the_environment_is_all(folder: Path) -> None:
    assert environment({"A": "1"}, None) == {"A": "1"}


@pytest.mark.usefixtures("folder")
def test_the_limits_know_the_number_of_workers(started: list[tuple[Sequence[str], Mapping[str, str]]]) -> None:
    done = run("--bind", "127.0.0.1:8001", "--workers", "3")

    assert done.exit_code == 0, done.output
    ((command, variables),) = started
    assert list(command[-2:]) == ["--bind", "127.0.0.1:8001"]
    assert variables["WEB_CONCURRENCY"] == "3"


def test_a_file_that_says_another_number_of_workers_is_not_overruled_in_silence(
    folder: Path, started: list[tuple[Sequence[str], Mapping[str, str]]]
) -> None:
    (folder / ".env").write_text("WEB_CONCURRENCY=2\n")

    refused, taken = run("--workers", "3"), run("--workers", "2")

    assert refused.exit_code == 2
    assert "WEB_CONCURRENCY" in refused.output
    assert taken.exit_code == 0
    assert len(started) == 1
