"""``velro-auth monitor`` as a process of its own: what it sees, what it writes, and that it survives."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, await_health, clean_environment, free_port, program
from tests.system.test_operations import SECRET, Pager, is_signed, pager
from tests.unit.ops.bench.gateway import EMAIL, PASSWORD, GatewayDouble, served
from tests.unit.ops.plotted import plots_of
from tests.waiting import eventually

__all__ = ["pager"]

CANARY = "canary-in-the-password"
FAST = ("--interval", "0.1", "--login-every", "0.1", "--timeout", "3", "--raise-after", "0.1")


def command(url: str, folder: Path, *options: str) -> list[str]:
    return ["-m", "velro_auth", "monitor", "--url", url, "--output-dir", str(folder), *FAST, *options]


def monitor(url: str, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """MonitorRun to the end."""
    return subprocess.run(
        [sys.executable, *command(url, folder, *options)],
        env=clean_environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what stands in the only file of *folder*; a line may just be written."""
    found = [line for path in folder.glob("observe_*.jsonl") for line in path.read_text().splitlines()]
    records = []
    for line in found:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def wait_until(is_so: Callable[[list[dict[str, Any]]], bool], folder: Path, running: Program) -> None:
    def is_there() -> bool:
        assert running.process.poll() is None, running.output
        return is_so(lines(folder))

    eventually(is_there, or_say=lambda: running.output)


def last(records: list[dict[str, Any]], target: str) -> list[str]:
    """Return what the last three requests to *target* counted as."""
    return [line["verdict"] for line in records if line.get("target") == target and line["kind"] == "observation"][-3:]


def observed(records: list[dict[str, Any]], target: str) -> int:
    return sum(line["kind"] == "observation" and line["target"] == target for line in records)


@contextlib.contextmanager
def gateway_on(port: int, log: Path, standin: Standin) -> Iterator[Program]:
    """Run the gateway on a port that it can come back to."""
    environment = {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "AUTH_THROTTLE_SCALE": "1000",
        "UPSTREAM_DEADLINE_S": "1",
    }
    with program(["-m", "gunicorn", "wsgi:app", "--bind", f"127.0.0.1:{port}"], log, **environment) as running:
        running.url = f"http://127.0.0.1:{port}"
        await_health(running)
        yield running


def sessions(standin: Standin, email: str) -> tuple[int, int]:
    """Return how many sessions Supabase has ever begun for a user, and how many it has left."""
    begun = "select count(*) from auth.audit_log_entries where payload->>'action' = 'login'"
    left = "select count(*) from auth.sessions s join auth.users u on u.id = s.user_id where u.email = %(email)s"
    with psycopg.connect(standin.database_dsn) as connection:
        row = connection.execute(
            f"select ({begun} and payload->>'actor_username' = %(email)s), ({left})".encode(), {"email": email}
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


#: What logins are answered while Supabase hangs. Which of them comes first depends on how busy the machine is: the
#: deadline, the gate, or the circuit breaker.
OF_A_HANG = {f"answered 503 {code}" for code in ("upstream_timeout", "busy", "resting")}


def _is_of_the_hang(line: dict[str, Any]) -> bool:
    return line.get("target") == "login" and line.get("code") == "upstream_timeout"


def _has_login_alert(records: list[dict[str, Any]]) -> bool:
    """Whether one of the logins was raised; a slow machine may have raised another one before Supabase hung."""
    return any(line["kind"] == "alert" and line["alert"].startswith("login_") for line in records)


@dataclass(frozen=True)
class Night:
    """What was seen of a night.

    Attributes:
        folder: Where the file and its reports are.
        report: The report.
        during: The lines that there were while Supabase hung.
        killed_after: How many lines there were when the monitor was killed.
        resumed: The run after that.
    """

    folder: Path
    report: dict[str, Any]
    during: list[dict[str, Any]]
    killed_after: int
    resumed: subprocess.CompletedProcess[str]

    def outages(self, target: str) -> list[dict[str, Any]]:
        return [one for one in self.report["incidents"] if (one["target"], one["kind"]) == (target, "outage")]


def live_through(standin: Standin, folder: Path, **environment: str) -> Night:
    """Supabase hangs, the gateway goes and comes back, the monitor is killed and resumed."""
    port, logs = free_port(), folder / "logs"
    url = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(gateway_on(port, folder / "first.log", standin))
        watching = stack.enter_context(program(command(url, logs), folder / "monitor.log", **environment))

        def until(is_so: Callable[[list[dict[str, Any]]], bool]) -> None:
            wait_until(is_so, logs, watching)

        until(lambda records: observed(records, "login") >= 22 and last(records, "login") == ["success"] * 3)
        standin.faults.on("hang", path="/auth/v1/token")
        until(lambda records: any(_is_of_the_hang(line) for line in records) and _has_login_alert(records))
        during = lines(logs)
        standin.faults.clear()
        until(lambda records: last(records, "login") == ["success"] * 3)
        first.stop()
        until(lambda records: last(records, "health") == ["failure"] * 3)
        stack.enter_context(gateway_on(port, folder / "second.log", standin))
        until(lambda records: last(records, "health") == ["success"] * 3)
        watching.stop(signal.SIGKILL)
        killed_after = len(lines(logs))
        while time.time() < lines(logs)[-1]["at"] + 2:
            time.sleep(0.05)
        resumed = monitor(url, logs, "--resume", "latest", "--duration", "1", **environment)
    [path] = logs.glob("observe_*.json")
    return Night(logs, json.loads(path.read_text()), during, killed_after, resumed)


@pytest.mark.slow
def test_a_night_with_an_outage_a_restart_and_a_crash(standin: Standin, pager: Pager, tmp_path: Path) -> None:
    email = f"watched-{random.getrandbits(48):x}@example.com"
    standin.create_user(email, CANARY)

    night = live_through(
        standin,
        tmp_path,
        AUTH_BENCH_EMAIL=email,
        AUTH_BENCH_PASSWORD=CANARY,
        AUTH_SLO_WINDOW_S="10",
        ALERT_WEBHOOK_URL=pager.url,
        ALERT_WEBHOOK_SECRET=SECRET,
    )

    _assert_the_outages(night)
    _assert_the_crash(night)
    alerts = [json.loads(body) for _, body in pager.calls]
    assert any(alert["alert"].startswith("login_") and alert["level"] == "critical" for alert in alerts)
    assert all(is_signed(headers, body) for headers, body in pager.calls)
    # Each login was followed by its logout; an outage or the kill may have cut some off.
    records = lines(night.folder)
    logins = sum(line.get("target") == "login" and line.get("status") == 200 for line in records)
    logouts = sum(line.get("target") == "logout" and line.get("status") == 200 for line in records)
    assert logouts >= logins - 5 > 15
    # Each logout ended a session. A login whose answer came too late is in Supabase's books only.
    begun, left = sessions(standin, email)
    assert begun >= logins
    assert left <= begun - logouts
    written = "".join(one.read_text("utf-8", "replace") for one in tmp_path.rglob("*") if one.is_file())
    written += night.resumed.stdout + night.resumed.stderr
    assert CANARY not in written
    assert "eyJ" not in written
    assert email not in written


def _assert_the_outages(night: Night) -> None:
    assert night.resumed.returncode == 2, night.resumed.stdout + night.resumed.stderr
    # Supabase hung: logins failed, and nothing else did.
    hung = next(one for one in night.outages("login") if one["what"] in OF_A_HANG)
    failed = [line for line in night.during if line.get("target") == "login" and line.get("status") not in {200, None}]
    assert "upstream_timeout" in {line.get("code") for line in failed}
    assert {f"answered {line.get('status')} {line.get('code')}" for line in failed} <= OF_A_HANG
    assert {line.get("status") for line in night.during if line.get("target") in {"health", "ping"}} <= {200, None}
    assert hung["ended_by"] == "recovery"
    assert hung["duration_s"] > 0
    # The gateway was away: everything failed, from a begin to an end.
    away = next(one for one in night.outages("health") if one["what"] == "no connection")
    assert away["ended_by"] == "recovery"
    assert 0 < away["duration_s"] <= night.report["targets"]["health"]["down_s"] + 0.01
    assert night.outages("ping")
    assert any((one["target"], one["kind"]) == ("login", "alert") for one in night.report["incidents"])


def _assert_the_crash(night: Night) -> None:
    """What was written stayed, and the gap is neither an outage nor watched."""
    assert len(night.report["runs"]) == 2
    assert len(lines(night.folder)) > night.killed_after
    # An alert that was on is restored, not raised again.
    announced = [(line["alert"], line["level"]) for line in lines(night.folder) if line["kind"] == "alert"]
    assert ("health_success", "critical") in announced
    assert len(announced) == len(set(announced))
    assert max(gap["duration_s"] for gap in night.report["not_watched"]) >= 2
    [path] = night.folder.glob("observe_*.jsonl")
    assert re.fullmatch(r"observe_\d{8}_\d{6}\.jsonl", path.name)
    page = path.with_suffix(".html").read_text("utf-8")
    titles = {band["title"] for plot in plots_of(page) for band in plot["bands"]}
    assert {"not watched", *(one["what"] for one in night.report["incidents"])} <= titles


@pytest.mark.slow
def test_a_report_is_made_from_the_file_alone(tmp_path: Path) -> None:
    with served(GatewayDouble()) as url:
        done = monitor(url, tmp_path, "--duration", "1.5", AUTH_BENCH_EMAIL=EMAIL, AUTH_BENCH_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    [path] = tmp_path.glob("*.jsonl")
    made = {suffix: path.with_suffix(suffix).read_text() for suffix in (".json", ".html")}
    for suffix in made:
        path.with_suffix(suffix).unlink()

    again = subprocess.run(
        [sys.executable, "-m", "velro_auth", "monitor", "report", str(path)],
        env=clean_environment(),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert again.returncode == 0
    assert {suffix: path.with_suffix(suffix).read_text() for suffix in made} == made
    assert json.loads(made[".json"])["targets"]["logout"]["success"] > 0


@pytest.mark.slow
def test_a_watch_in_memory_ends_with_sigterm_and_tells_of_a_refused_account(tmp_path: Path) -> None:
    """The folder cannot be made and the password is wrong: it watches on, and asks for the account ever less."""
    (tmp_path / "file").write_text("in the way")
    double = GatewayDouble()
    account = {"AUTH_BENCH_EMAIL": EMAIL, "AUTH_BENCH_PASSWORD": CANARY}
    with (
        served(double) as url,
        program(command(url, tmp_path / "file" / "logs"), tmp_path / "monitor.log", **account) as watching,
    ):
        watching.wait_for("the watched account is refused (401 invalid_credentials)")
        status = watching.stop()

    assert status in {1, 2}
    assert "cannot be written (Not a directory): the monitor continues in memory" in watching.output
    assert "health: 100.00 %" in watching.output
    assert "Verdict: " in watching.output
    assert CANARY not in watching.output
    assert 1 <= len(double.asked) <= 8


@pytest.mark.slow
def test_nothing_to_watch(tmp_path: Path) -> None:
    """Case 32."""
    done = monitor(f"http://127.0.0.1:{free_port()}", tmp_path, "--duration", "4", "--resume", "latest")

    assert done.returncode == 3
    assert "Verdict: critical" in done.stdout
    assert "never answered" in done.stderr
    [path] = tmp_path.glob("*.json")
    report = json.loads(path.read_text())
    assert report["verdict"]["grade"] == "critical"
    assert "health: never answered" in report["verdict"]["reasons"]
    assert report["targets"]["health"]["outcomes"].keys() == {"connection"}
