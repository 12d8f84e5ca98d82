"""What the command accepts and refuses, before it sends a request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.ops.monitor.records import run
from velro_auth.ops.cli.monitor import monitor


def call(*options: str, **environment: str) -> Result:
    return CliRunner(env={"AUTH_BENCH_EMAIL": "", "AUTH_BENCH_PASSWORD": "", **environment}).invoke(monitor, options)


@pytest.mark.parametrize(
    "url",
    [
        *("auth.example.com", "localhost:8000", "ftp://a", "http://", "https://user:secret@a", "http://a/path"),
        *("http://a?key=secret", "http://[::1", "http://a:99999", "http://a:port", "http://a secret", ""),
    ],
)
def test_an_address_is_a_scheme_a_host_and_a_port(url: str) -> None:
    """It goes into the file: a password in it would, too."""
    result = call("--url", url)

    assert result.exit_code == 2
    assert "http(s)://host[:port]" in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1w", "1h30m", "1e3", "nan"])
def test_a_duration_has_one_unit(text: str) -> None:
    result = call(f"--duration={text}")

    assert result.exit_code == 2
    assert "write 90, 30m, 24h or 7d" in result.output


def test_logins_elsewhere_stay_below_the_limit() -> None:
    result = call(
        "--url",
        "https://192.0.2.1",
        "--interval",
        "1",
        "--login-every",
        "2",
        "--email",
        "a@b.c",
        "--password",
        "canary",
    )

    assert result.exit_code == 2
    assert "at least 4" in result.output


def test_a_missing_password_is_said(tmp_path: Path) -> None:
    result = call("--email", "a@b.c", "--output-dir", str(tmp_path))

    assert result.exit_code == 2
    assert "AUTH_BENCH_PASSWORD" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_threshold_is_said() -> None:
    result = call(AUTH_P95_CRITICAL="1", AUTH_P95_WARNING="2")

    assert result.exit_code == 2
    assert "AUTH_P95_CRITICAL: must not be less than AUTH_P95_WARNING" in result.output


def test_a_file_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    result = call("--resume", str(tmp_path / "none.jsonl"))

    assert result.exit_code == 3
    assert "is not there to be resumed" in result.output


def test_a_file_about_another_address_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "observe_20260801_160000.jsonl"
    path.write_text(json.dumps(run()) + "\n")

    result = call("--url", "http://127.0.0.1:1", "--resume", "latest", "--output-dir", str(tmp_path))

    assert result.exit_code == 3
    assert "is about http://127.0.0.1:8000, not http://127.0.0.1:1" in result.output
    assert path.read_text().count("\n") == 1


@pytest.mark.parametrize("text", ["", "{}\n", '{"kind":"ru'])
def test_a_file_that_is_none_makes_no_report(text: str, tmp_path: Path) -> None:
    (tmp_path / "observe.jsonl").write_text(text)

    result = call("report", str(tmp_path / "observe.jsonl"))

    assert result.exit_code == 3
    assert "is no observation file" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["observe.jsonl"]
