"""Two workers under gunicorn, one of them killed: every login is counted once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.fixtures.programs import Program, await_health, free_port, program
from tests.unit.telemetry.answers import samples
from tests.waiting import eventually
from velro_auth.telemetry.chain import verify


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def service(tmp_path: Path, audit_file: Path) -> Iterator[Program]:
    port = free_port()
    command = ["-m", "gunicorn", "-c", "/dev/null", "tests.contract.telemetry_app:create()"]
    options = ["--bind", f"127.0.0.1:{port}", "--preload", "-w", "2", "-k", "gthread", "--threads", "4"]
    environment = {"WORKERS": "2", "AUDIT": str(audit_file)}
    with program([*command, *options, "--no-control-socket"], tmp_path / "log", **environment) as running:
        running.url = f"http://127.0.0.1:{port}"
        await_health(running)
        yield running


def scrape(service: Program) -> dict[str, float]:
    return samples(requests.get(service.url + "/metrics", timeout=10).content)


def log_in(service: Program, times: int) -> set[int]:
    """Log in and return the process ids of the workers that answered."""

    def once(_: int) -> int:
        return int(requests.get(service.url + "/login", timeout=10).headers["X-Pid"])

    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(once, range(times)))


def test_a_thousand_logins_over_two_workers_add_up_and_a_killed_one_loses_none(
    service: Program, audit_file: Path
) -> None:
    workers = log_in(service, 600)
    assert len(workers) == 2
    killed = workers.pop()
    os.kill(killed, signal.SIGKILL)
    await_new_worker(service, workers | {killed})
    before = scrape(service)['velro_auth_logins_total{outcome="ok"}']

    log_in(service, 1000 - int(before))

    found = scrape(service)
    assert 600 <= before < 1000
    assert found['velro_auth_logins_total{outcome="ok"}'] == 1000
    assert found['velro_auth_login_seconds_count{share="total"}'] == 1000
    assert found['velro_auth_requests_total{lane="fast",route="login",status="2xx"}'] == 1000
    assert service.stop() == 0
    report = verify(audit_file.read_bytes().splitlines(keepends=True))
    assert report.faults == []
    # What the killed worker had taken but not yet written is gone with it; the queue is empty within milliseconds.
    assert 990 <= sum(chain.records for chain in report.chains.values()) <= 1000
    assert len(report.chains) == 3


def test_gauges_are_those_of_all_living_workers(service: Program) -> None:
    log_in(service, 100)

    eventually(lambda: scrape(service)["velro_auth_workers"] == 2)
    assert scrape(service)["velro_auth_gate_slots"] == 48.0
    assert scrape(service)["velro_auth_signing_keys_age_seconds"] == 5.0


def await_new_worker(service: Program, known: set[int]) -> None:
    """Log in until a worker answers that is not among *known*; a dying one may reset a connection."""

    def is_there() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return bool(log_in(service, 1) - known)
        return False

    eventually(is_there, or_say=lambda: service.output)
