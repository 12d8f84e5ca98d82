"""Alerts: raised when it lasts, called off once, over all workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import LogLines
from tests.unit.telemetry.answers import Child, HandClock, answer, record_login
from velro_auth.health_checks import Finding
from velro_auth.telemetry import slo
from velro_auth.telemetry.alerts import Alerts, Announcement, log
from velro_auth.telemetry.shared import Window, Workers
from velro_auth.telemetry.slo import SloTarget

Fork = Callable[[Callable[[], object]], Child]

TICK_S = 5.0

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Service:
    """Logins, minute by minute, and what is announced."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.workers = Workers(workers=2)
        self.target = SloTarget()
        self.window = Window(self.workers, clock=clock)
        self.announced: list[Announcement] = []
        self.alerts = Alerts(
            self.workers,
            rules=lambda: slo.rules(self.target),
            min_samples=self.target.min_samples,
            outputs=(self.announced.append, log),
            clock=clock,
            wall_clock=lambda: 1_800_000_000.0,
        )

    def evaluate(self) -> None:
        self.alerts.evaluate(lambda: slo.read(self.window, self.target))

    def serve(self, seconds: float, *, a_second: float = 2.0, status: int = 200, took_ms: float = 120.0) -> None:
        """Answer logins for a while, and evaluate the alerts every five seconds."""
        for _ in range(int(seconds / TICK_S)):
            for _ in range(int(a_second * TICK_S)):
                record_login(self.window, answer(status, took_ms=took_ms, upstream_ms=took_ms - 3))
            self.clock.advance(TICK_S)
            self.evaluate()

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        return [(change.alert, change.was, change.level) for change in self.announced]


@pytest.fixture
def service(clock: HandClock) -> Service:
    return Service(clock)


def test_good_logins_raise_nothing(service: Service) -> None:
    service.serve(900)

    assert service.changes == []
    assert service.alerts.check() == Finding("pass")


def test_a_hanging_supabase_is_critical_within_a_minute_even_after_a_busy_hour(service: Service) -> None:
    service.serve(3600, a_second=10)

    service.serve(60, a_second=10, status=503, took_ms=5000.0)

    assert {change.alert for change in service.announced if change.level == "critical"} == {
        "login_p95",
        "login_success",
    }
    assert service.alerts.check().status == "fail"


def test_the_all_clear_is_announced_once(service: Service, logs: LogLines) -> None:
    service.serve(60)
    service.serve(60, status=503, took_ms=5000.0)

    service.serve(1200)

    cleared = [alert for alert, _, level in service.changes if level == "ok"]
    assert sorted(cleared) == ["login_burn", "login_p95", "login_success"]
    assert len(service.changes) == len(set(service.changes))
    assert service.alerts.check() == Finding("pass")
    lines = [record for record in logs.records if record.name == "velro_auth.alerts"]
    assert lines[0].levelname == "ERROR"
    assert (lines[-1].levelname, lines[-1].getMessage()[:9]) == ("INFO", "all clear")


@pytest.mark.parametrize(("took_ms", "level"), [(430.0, "ok"), (600.0, "warning"), (1300.0, "critical")])
def test_slow_logins_are_rated_by_their_95th_percentile(service: Service, took_ms: float, level: str) -> None:
    service.serve(120, took_ms=took_ms)

    assert service.alerts.level("login_p95") == level
    assert service.alerts.check().status == {"ok": "pass", "warning": "warn", "critical": "fail"}[level]


def test_a_short_bad_moment_is_no_alert(service: Service) -> None:
    """A worse level has to last; one evaluation is not enough."""
    service.serve(600)
    for _ in range(100):
        record_login(service.window, answer(took_ms=2000.0, upstream_ms=1990.0))
    service.evaluate()
    assert service.changes == []

    service.clock.advance(10)
    service.evaluate()

    assert service.changes == [("login_p95", "ok", "critical")]


def test_a_value_that_dances_around_its_limit_rings_once(service: Service) -> None:
    """Bounds of buckets separate 490 from 540 ms; the limit is 500."""
    for _ in range(20):
        service.serve(120, took_ms=545.0)
        service.serve(360, took_ms=475.0)

    assert service.changes == [("login_p95", "ok", "warning")]


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_one_failure_of_a_quiet_hour_is_no_alert(service: Service, failures: int) -> None:
    for number in range(30):
        record_login(service.window, answer(503 if number < failures else 200))

    for _ in range(5):
        service.clock.advance(TICK_S)
        service.evaluate()

    assert bool(service.changes) is (failures >= slo.MIN_FAILURES)


def test_too_few_logins_tell_nothing(service: Service) -> None:
    for _ in range(service.target.min_samples - 1):
        record_login(service.window, answer(503, took_ms=5000.0))

    service.serve(60, a_second=0)

    assert service.changes == []


def test_an_alert_ends_when_nobody_logs_in_any_more(service: Service) -> None:
    service.serve(60, status=503)
    assert service.alerts.check().status == "fail"

    service.serve(400, a_second=0)

    assert service.alerts.check().status == "pass"


def test_the_burn_rate_needs_both_windows(service: Service) -> None:
    """An old outage that is over, and a new one that just began, are both no burning."""
    service.serve(3000, a_second=4)
    service.serve(30, a_second=4, status=503)
    assert service.alerts.level("login_success") == "critical"
    assert service.alerts.level("login_burn") == "ok"

    service.serve(600, a_second=4, status=503)
    assert service.alerts.level("login_burn") == "critical"

    service.serve(600, a_second=4)
    service.serve(20, a_second=0.2, status=503)
    service.serve(60, a_second=4)
    assert service.alerts.last_reading is not None
    assert service.alerts.last_reading.failures >= slo.MIN_FAILURES
    assert service.alerts.last_reading.burn_hour > slo.BURN_CRITICAL
    assert service.alerts.level("login_burn") == "ok"


def test_a_target_of_a_hundred_percent_can_be_evaluated() -> None:
    rule = next(rule for rule in slo.rules(SloTarget(success_rate_min=100.0)) if rule.name == "login_success")

    assert rule.level(0.0) == "ok"
    assert rule.level(0.5) == "critical"


def test_the_target_rate_itself_is_kept() -> None:
    rule = next(rule for rule in slo.rules(SloTarget(success_rate_min=99.0)) if rule.name == "login_success")

    assert rule.level(100 - 99.0) == "ok"
    assert rule.level(1.01) == "warning"


def test_only_one_worker_announces_and_all_know(fork: Fork, clock: HandClock) -> None:
    """Over all workers of an instance, raised once."""
    service = Service(clock)
    assert service.workers.leads()
    service.serve(120, took_ms=700.0)

    def other() -> None:
        service.announced.clear()
        service.serve(120, took_ms=3000.0)
        assert service.announced == []
        assert service.alerts.check().status == "warn"

    fork(other)

    service.serve(30, a_second=0)
    assert service.changes == [("login_p95", "ok", "warning"), ("login_p95", "warning", "critical")]


def test_the_next_leader_goes_on_where_the_last_one_died(fork: Fork, clock: HandClock) -> None:
    """Otherwise a restarted worker would announce it again, or no worker would end it."""
    service = Service(clock)

    def lead() -> None:
        service.serve(60, took_ms=3000.0)
        assert service.changes == [("login_p95", "ok", "critical")]

    fork(lead).kill()
    clock.advance(60)

    assert service.alerts.check().status == "fail"
    service.serve(30, a_second=0)
    assert service.changes == []
    service.serve(600)
    assert service.changes == [("login_p95", "critical", "ok")]


def test_an_announcement_is_fit_for_json(service: Service) -> None:
    service.serve(60, took_ms=3000.0)

    fields = service.announced[0].fields()

    assert fields["alert"] == "login_p95"
    assert fields["runbook"] == "docs/how-to/runbook.md#login_p95"
    assert fields["reading"]["logins"] >= 20
    assert fields["at"] == 1_800_000_000.0
    assert fields["text"].startswith("critical: the slowest 5 % of logins take ")
    assert "1000 ms" in fields["text"]


def test_an_alert_of_an_earlier_process_is_taken_up(service: Service) -> None:
    service.alerts.restore("login_success", "critical")

    service.serve(300)

    assert service.changes == [("login_success", "critical", "ok")]


def test_an_output_that_fails_keeps_the_others_and_the_next_rules_from_nothing(
    service: Service, logs: LogLines
) -> None:
    def fail(_: Announcement) -> None:
        raise RuntimeError("can't start new thread")

    service.alerts._outputs = (fail, *service.alerts._outputs)

    service.serve(60, status=503, took_ms=5000)

    assert {alert for alert, _, _ in service.changes} == set(service.alerts.names)
    assert "an alert could not be announced" in str(logs)
