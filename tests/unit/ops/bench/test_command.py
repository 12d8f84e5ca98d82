"""``velro-auth bench`` from its options to its exit status, against a double over loopback."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fixtures.programs import ROOT, clean_environment, free_port
from tests.unit.ops.bench.gateway import EMAIL, PASSWORD, GatewayDouble, problem, served
from tests.unit.ops.bench.samples import logins, run_of
from tests.waiting import PATIENCE_S
from velro_auth.ops.cli.bench import bench

ENVIRONMENT = {
    "AUTH_BENCH_EMAIL": EMAIL,
    "AUTH_BENCH_PASSWORD": PASSWORD,
    "SUPABASE_URL": None,
    "AUTH_P95_WARNING": "20000",
    "AUTH_P95_CRITICAL": "30000",
    "AUTH_SUCCESS_RATE_MIN": None,
}


def run(url: str, folder: Path, *options: str, **environment: str | None) -> Result:
    command = ["--url", url, "--rps", "40", "--duration", "0.5", "--output-dir", str(folder), *options]
    return CliRunner(env={**ENVIRONMENT, **environment}).invoke(bench, command, catch_exceptions=False)


def file_in(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("auth_benchmark_*.json")
    contents = json.loads(path.read_text("utf-8"))
    assert isinstance(contents, dict)
    return contents


def test_a_good_service_is_good_and_leaves_a_file(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        result = run(url, tmp_path)

    contents = file_in(tmp_path)
    [level] = contents["levels"]
    assert contents["target"] == {"url": url, "is_this_machine": True, "version": "9.9.9", "commit": "c0ffee"}
    assert contents["settings"]["gently"] is False
    assert set(level["classes"]) <= {"good", "wrong_password", "unknown_user"}
    assert level["success_rate_percent"] == 100
    assert level["own_ms"]["p50"] == 2.5
    assert len(level["samples"]) == level["planned"]
    # A busy machine may make the generator late, which is a warning.
    assert result.exit_code == (1 if level["punctuality"]["fell_behind"] else 0), result.output
    assert "success rate 100.00 %" in result.output


def test_neither_account_nor_password_is_written_anywhere(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        result = run(url, tmp_path, "--html")

    written = [path.read_text("utf-8") for path in tmp_path.iterdir()]
    assert len(written) == 2
    assert not any(secret in text for text in [*written, result.output] for secret in (EMAIL, PASSWORD))


def test_a_slow_p95_is_a_warning_and_a_slower_one_critical(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        warning = run(url, tmp_path, AUTH_P95_WARNING="0.001")
        critical = run(url, tmp_path, AUTH_P95_CRITICAL="0.001")

    assert (warning.exit_code, critical.exit_code) == (1, 2)
    assert "more than 0.001 ms" in critical.output


def test_failed_logins_are_critical_however_fast(tmp_path: Path) -> None:
    """The first login is the check beforehand."""
    double = GatewayDouble()
    double.instead = lambda _: problem(503, "busy") if len(double.asked) > 1 else None
    with served(double) as url:
        result = run(url, tmp_path)

    assert result.exit_code == 2
    assert file_in(tmp_path)["levels"][0]["success_rate_percent"] == 0
    assert "503 busy" in result.output


def test_what_succeeds_often_enough_is_ones_own_to_say(tmp_path: Path) -> None:
    double = GatewayDouble()
    double.instead = lambda _: problem(503, "busy") if len(double.asked) % 2 == 0 else None
    with served(double) as url:
        result = run(url, tmp_path, "--mix", "1,0,0", AUTH_SUCCESS_RATE_MIN="10")

    assert result.exit_code < 2, result.output


def test_throttled_logins_are_a_class_of_their_own_and_a_warning(tmp_path: Path) -> None:
    double = GatewayDouble()
    double.instead = lambda _: problem(429, "too_many_attempts") if len(double.asked) % 3 == 0 else None
    with served(double) as url:
        result = run(url, tmp_path)

    classes = file_in(tmp_path)["levels"][0]["classes"]
    assert result.exit_code == 1, result.output
    assert set(classes["throttled"]["outcomes"]) == {"429 too_many_attempts"}
    assert classes["good"]["outcomes"].keys() == {"200"}


@pytest.mark.parametrize(("before_ms", "status"), [(0.001, 1), (100_000.0, 0)])
def test_a_regression_is_told_by_the_exit_status(tmp_path: Path, before_ms: float, status: int) -> None:
    """Any answer takes 2 ms longer than a microsecond where the double takes 5."""
    old = tmp_path / "old" / "before.json"
    old.parent.mkdir()
    old.write_text(json.dumps(run_of(logins(*[before_ms] * 10, own_ms=2.5), rps=40)), "utf-8")
    with served(GatewayDouble(lambda _: time.sleep(0.005))) as url:
        result = run(url, tmp_path, "--compare", str(old), "--mix", "1,0,0")

    fell_behind = file_in(tmp_path)["levels"][0]["punctuality"]["fell_behind"]
    assert result.exit_code == max(status, int(fell_behind)), result.output
    assert ("REGRESSION" in result.output) is bool(status)
    assert "not alike: duration_s was 30.0, is 0.5" in result.output


def test_a_file_that_is_none_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("{}", "utf-8")
    double = GatewayDouble()
    with served(double) as url:
        result = run(url, tmp_path, "--compare", str(old))

    assert result.exit_code == 3
    assert double.asked == []


@pytest.mark.parametrize("status", [401, 503])
def test_without_an_account_nothing_is_measured(tmp_path: Path, status: int) -> None:
    with served(GatewayDouble(lambda _: problem(status, "no"))) as url:
        result = run(url, tmp_path)

    assert result.exit_code == 3
    assert f"{status} no" in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_service_nothing_is_measured(tmp_path: Path) -> None:
    result = run(f"http://127.0.0.1:{free_port()}", tmp_path)

    assert result.exit_code == 3
    assert "velro-auth dev" in result.stderr


def test_a_real_project_behind_a_local_gateway_is_treated_gently(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        result = run(url, tmp_path, SUPABASE_URL="https://192.0.2.7")

    assert file_in(tmp_path)["settings"]["gently"] is True
    assert "30 password logins" in result.output


def test_force_overrides_gentleness(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        run(url, tmp_path, "--force", SUPABASE_URL="https://192.0.2.7")

    assert file_in(tmp_path)["settings"]["gently"] is False


def test_the_demo_account_is_never_sent_to_strangers(tmp_path: Path) -> None:
    result = run("http://192.0.2.7", tmp_path, AUTH_BENCH_EMAIL=None)

    assert result.exit_code == 2
    assert "--email" in result.stderr


@pytest.mark.parametrize(
    "options",
    [("--rps", "0"), ("--rps", "fast"), ("--rps", "1001"), ("--mix", "1,1"), ("--mix", "0,1,1"), ("--mix", "-1,0,0")],
)
def test_wrong_options_are_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    result = run("http://127.0.0.1:1", tmp_path, *options)

    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_password_that_is_missing_is_said_where_nobody_can_be_asked(tmp_path: Path) -> None:
    double = GatewayDouble()
    with served(double) as url:
        command = ["--url", url, "--rps", "40", "--duration", "0.5", "--output-dir", str(tmp_path)]
        env = {**ENVIRONMENT, "AUTH_BENCH_PASSWORD": None}
        result = CliRunner(env=env).invoke(bench, command, input=f"{PASSWORD}\n")

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: The password of --email is missing: set AUTH_BENCH_PASSWORD."
    assert double.asked == []


def test_at_a_terminal_a_password_is_asked_for_rather_than_taken_from_the_demo(tmp_path: Path) -> None:
    double, (terminal, end) = GatewayDouble(), pty.openpty()
    with served(double) as url:
        command = [*("bench", "--url", url, "--rps", "40", "--duration", "0.5"), "--output-dir", str(tmp_path)]
        running = subprocess.Popen(
            [sys.executable, "-m", "velro_auth", *command],
            env=clean_environment(AUTH_BENCH_EMAIL=EMAIL),
            cwd=ROOT,
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Without a terminal of its own, or it would ask there.
            start_new_session=True,
        )
        os.close(end)
        assert running.stderr is not None
        asked = b""
        # Not before it asks: what was typed ahead is thrown away.
        while not asked.endswith(b"Password: "):
            asked += running.stderr.read(1) or pytest.fail(f"it ended without asking: {asked!r}")
        os.write(terminal, f"{PASSWORD}\n".encode())
        running.communicate(timeout=PATIENCE_S)
        os.close(terminal)

    assert double.asked[0]["password"] == PASSWORD


@pytest.mark.parametrize("url", ["localhost:8000", "http://a/path", "http://[::1", "https://user:secret@a"])
def test_an_address_that_is_none_is_said_in_one_sentence(tmp_path: Path, url: str) -> None:
    result = run(url, tmp_path)

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: Invalid value for '--url': ")
    assert "http(s)://host[:port]" in result.stderr
    assert "secret" not in result.output
