"""Each target is judged as the service judges its logins."""

from __future__ import annotations

from tests.unit.ops.monitor.records import BEGAN_S, seen
from velro_auth.ops.monitor.levels import Levels
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.slo import SloTarget


class Heard:
    """What was announced."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Announcement]] = []

    def __call__(self, target: str, announcement: Announcement) -> None:
        self.all.append((target, announcement))

    @property
    def levels(self) -> list[tuple[str, str]]:
        return [(told.alert, told.level) for _, told in self.all]


def levels(heard: Heard) -> Levels:
    return Levels(["health", "login"], promise=SloTarget(), window_s=300.0, outputs=[heard])


def watch(judge: Levels, start_s: float, seconds: int, *, status: int = 200, took_ms: float = 20.0) -> None:
    for second in range(seconds):
        judge.note(seen(start_s + second, status, took_ms=took_ms))
        judge.look(BEGAN_S + start_s + second)


def test_an_outage_is_announced_once_and_so_is_its_end() -> None:
    heard = Heard()
    judge = levels(heard)

    watch(judge, 0, 60)
    watch(judge, 60, 60, status=503)
    assert heard.levels == [("health_success", "critical")]

    watch(judge, 120, 400)
    assert heard.levels[1:] == [("health_success", "ok")]
    assert {target for target, _ in heard.all} == {"health"}
    assert "of answers of /health fail" in heard.all[0][1].text


def test_slowness_is_a_warning_before_it_is_critical() -> None:
    heard = Heard()
    judge = levels(heard)

    watch(judge, 0, 60, took_ms=700)
    watch(judge, 60, 60, took_ms=3000)

    assert heard.levels == [("health_p95", "warning"), ("health_p95", "critical")]


def test_a_quick_failure_does_not_make_a_slow_target_fast() -> None:
    judge = levels(Heard())

    watch(judge, 0, 30, took_ms=700)
    watch(judge, 30, 30, status=503, took_ms=1)

    assert judge.reading("health").p50_ms > 600


def test_429_counts_neither_way() -> None:
    heard = Heard()
    judge = levels(heard)

    watch(judge, 0, 100, status=429)

    assert heard.all == []
    assert judge.reading("health").logins == 0


def test_an_alert_of_an_earlier_run_is_called_off_and_not_raised_again() -> None:
    """As after a restart: the windows are filled from the file, the alert is taken up."""
    heard = Heard()
    judge = levels(heard)
    for second in range(60):
        judge.note(seen(second, 503))
    judge.take_up("health_success", "critical")
    judge.take_up("nobody_knows", "critical")

    watch(judge, 60, 30, status=503)
    assert heard.all == []

    watch(judge, 90, 400)
    assert heard.levels == [("health_success", "ok")]


def test_the_login_tells_its_own_share() -> None:
    judge = levels(Heard())
    for second in range(30):
        judge.note(seen(second, target="login"))

    assert judge.reading("login").own_p95_ms <= 1
