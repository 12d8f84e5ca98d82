"""All parts together: one call for each response."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from typing import Any

from tests.conftest import LogLines
from tests.unit.telemetry.answers import HandClock, answer, samples
from tests.waiting import eventually
from velro_auth.background import PeriodicJobs
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.audit import AuditTrail
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.telemetry import Routes, Telemetry


def new_telemetry(**options: Any) -> Telemetry:
    return Telemetry(
        routes=Routes({"/login": "login", "/ping": "ping"}), outcomes=["ok"], jobs_every_s=3600.0, **options
    )


def job_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "watch"}


def test_an_answer_reaches_every_part(clock: HandClock) -> None:
    lines: list[str] = []

    def write(line: str, _on_lost: Callable[[], None]) -> bool:
        lines.append(line)
        return True

    audit = AuditTrail(write)
    telemetry = new_telemetry(clock=clock, audit=audit)

    telemetry.record(answer())
    telemetry.record(answer(503, outcome="upstream_misconfigured"))
    telemetry.record(answer(route="ping", upstream_ms=0.0))

    found = samples(telemetry.render())
    assert found['velro_auth_logins_total{outcome="ok"}'] == 1
    assert found['velro_auth_events_total{event="upstream_misconfigured"}'] == 1
    assert found['velro_auth_requests_total{lane="fast",route="ping",status="2xx"}'] == 1
    assert telemetry.window.recent().count.logins == 2
    assert [json.loads(line)["event"] for line in lines] == ["login_succeeded", "upstream_failed"]


def test_a_service_level_that_is_missed_is_everywhere(clock: HandClock, logs: LogLines) -> None:
    announced: list[Announcement] = []
    telemetry = new_telemetry(clock=clock, outputs=[announced.append])

    for _ in range(6):
        for _ in range(10):
            telemetry.record(answer(503, outcome="upstream_timeout", took_ms=5000.0, upstream_ms=4990.0))
        clock.advance(5)
        telemetry.jobs.run_once()

    found = samples(telemetry.render())
    assert found['velro_auth_alert_level{alert="login_p95"}'] == 2
    assert found['velro_auth_alert_level{alert="login_success"}'] == 2
    assert found["velro_auth_slo_logins"] == found["velro_auth_slo_failures"] == 60
    assert 4.5 < found["velro_auth_slo_p95_seconds"] < 5.5
    assert telemetry.check().status == "fail"
    assert telemetry.check().output.startswith("critical: ")
    assert {change.alert for change in announced} == {"login_p95", "login_success", "login_burn"}
    assert sum(record.name == "velro_auth.alerts" for record in logs.records) == 3


def test_another_target_is_evaluated_for_the_logins_there_are(clock: HandClock) -> None:
    """And an alert that was raised is called off when the new target is kept."""
    telemetry = new_telemetry(clock=clock)

    def level_after_a_minute() -> str:
        for _ in range(12):
            for _ in range(5):
                telemetry.record(answer(took_ms=100.0, upstream_ms=90.0))
            clock.advance(5)
            telemetry.jobs.run_once()
        return telemetry.alerts.level("login_p95")

    assert level_after_a_minute() == "ok"
    telemetry.set_target(SloTarget(p95_warning_ms=20, p95_critical_ms=50))
    assert level_after_a_minute() == "critical"
    assert "the limit is 50 ms" in telemetry.check().output
    telemetry.set_target(SloTarget())
    assert level_after_a_minute() == "ok"


def test_the_jobs_start_with_the_first_response_and_ends_with_its_owner() -> None:
    # Those of other tests end whenever their owners are collected.
    others = job_threads()
    telemetry = new_telemetry()
    assert job_threads() <= others

    telemetry.record(answer())
    telemetry.record(answer())
    (thread,) = job_threads() - others

    del telemetry
    gc.collect()
    eventually(lambda: not thread.is_alive())


def test_a_job_that_fails_stops_neither_the_thread_nor_the_other_jobs(logs: LogLines) -> None:
    runs: list[int] = []

    def fail() -> None:
        raise ValueError("a defect")

    jobs = PeriodicJobs((fail, lambda: runs.append(1)), every_s=0.01)
    jobs.ensure()

    eventually(lambda: len(runs) >= 3)
    jobs.stop()
    assert any(record.exc_info for record in logs.records)
