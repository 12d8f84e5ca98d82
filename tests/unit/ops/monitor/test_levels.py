"""Each target is evaluated as the service judges its logins."""

from __future__ import annotations

from tests.unit.ops.monitor.records import BEGAN_S, observed
from velro_auth.ops.monitor.levels import Levels
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.slo import SloTarget


class Announcements:
    """What was announced."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Announcement]] = []

    def __call__(self, target: str, announcement: Announcement) -> None:
        self.all.append((target, announcement))

    @property
    def levels(self) -> list[tuple[str, str]]:
        return [(announcement.alert, announcement.level) for _, announcement in self.all]


def levels_of(announced: Announcements) -> Levels:
    return Levels(["health", "login"], slo_target=SloTarget(), window_s=300.0, outputs=[announced])


def watch(levels: Levels, start_s: float, seconds: int, *, status: int = 200, took_ms: float = 20.0) -> None:
    for second in range(seconds):
        levels.add(observed(start_s + second, status, took_ms=took_ms))
        levels.evaluate(BEGAN_S + start_s + second)


def test_an_outage_is_announced_once_and_so_is_its_end() -> None:
    announced = Announcements()
    levels = levels_of(announced)

    watch(levels, 0, 60)
    watch(levels, 60, 60, status=503)
    assert announced.levels == [("health_success", "critical")]

    watch(levels, 120, 400)
    assert announced.levels[1:] == [("health_success", "ok")]
    assert {target for target, _ in announced.all} == {"health"}
    assert "of answers of /health fail" in announced.all[0][1].text


def test_slowness_is_a_warning_before_it_is_critical() -> None:
    announced = Announcements()
    levels = levels_of(announced)

    watch(levels, 0, 60, took_ms=700)
    watch(levels, 60, 60, took_ms=3000)

    assert announced.levels == [("health_p95", "warning"), ("health_p95", "critical")]


def test_a_quick_failure_does_not_make_a_slow_target_fast() -> None:
    levels = levels_of(Announcements())

    watch(levels, 0, 30, took_ms=700)
    watch(levels, 30, 30, status=503, took_ms=1)

    assert levels.reading("health").p50_ms > 600


def test_429_counts_neither_way() -> None:
    announced = Announcements()
    levels = levels_of(announced)

    watch(levels, 0, 100, status=429)

    assert announced.all == []
    assert levels.reading("health").logins == 0


def test_an_alert_of_an_earlier_run_is_called_off_and_not_raised_again() -> None:
    """As after a restart: the windows are filled from the file, the alert is restored."""
    announced = Announcements()
    levels = levels_of(announced)
    for second in range(60):
        levels.add(observed(second, 503))
    levels.restore("health_success", "critical")
    levels.restore("nobody_knows", "critical")

    watch(levels, 60, 30, status=503)
    assert announced.all == []

    watch(levels, 90, 400)
    assert announced.levels == [("health_success", "ok")]


def test_the_login_tells_its_own_share() -> None:
    levels = levels_of(Announcements())
    for second in range(30):
        levels.add(observed(second, target="login"))

    assert levels.reading("login").own_p95_ms <= 1
