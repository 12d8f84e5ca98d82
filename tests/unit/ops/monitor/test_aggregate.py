"""What a file comes to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ops.monitor.records import BEGAN_S, alert, end, ledger_of, run, seen
from velro_auth.ops.monitor.aggregate import MOST_KEPT, Aggregate
from velro_auth.ops.monitor.observation import Observation


def minute(*, starts_s: float = 0.0, status: int = 200) -> list[Observation]:
    """Return a minute of answers, one a second."""
    return [seen(starts_s + second, status) for second in range(60)]


def test_a_quiet_minute() -> None:
    ledger = ledger_of(*minute(), end(60))

    assert ledger.watched_s == 60
    assert ledger.answers == 60
    assert ledger.accounts["health"].total.success_percent == 100
    assert (ledger.incidents, ledger.gaps, ledger.deploys) == ([], [], [])


def test_an_outage_has_a_begin_and_an_end_and_counts_as_down() -> None:
    ledger = ledger_of(*minute(), *minute(starts_s=60, status=503), *minute(starts_s=120))

    [incident] = ledger.incidents
    assert (incident.began_s, incident.ended_s) == (BEGAN_S + 60, BEGAN_S + 120)
    assert ledger.accounts["health"].down_s == 60


def test_time_between_two_runs_was_not_watched_and_is_no_outage() -> None:
    ledger = ledger_of(*minute(), end(60), run(600), *minute(starts_s=600))

    [gap] = ledger.gaps
    assert (gap.began_s, gap.ended_s) == (BEGAN_S + 60, BEGAN_S + 600)
    assert ledger.watched_s == 59 + 60
    assert ledger.incidents == []
    assert len(ledger.runs) == 2


def test_a_monitor_that_was_killed_leaves_the_same_gap() -> None:
    ledger = ledger_of(*minute(), run(600), *minute(starts_s=600))

    assert [gap.lasted_s for gap in ledger.gaps] == [541]


def test_an_outage_ends_where_nobody_watches_any_more() -> None:
    """It may have gone on, or not: what was not watched is not claimed."""
    ledger = ledger_of(*minute(status=503), run(600), *minute(starts_s=600, status=503), end(660))

    before, after = ledger.incidents
    assert (before.ended_s, before.ended_by) == (BEGAN_S + 59, "unwatched")
    assert (after.began_s, after.ended_s) == (BEGAN_S + 600, None)


def test_a_restart_within_moments_interrupts_nothing() -> None:
    ledger = ledger_of(*minute(status=503), end(60), run(62), *minute(starts_s=62, status=503))

    assert ledger.gaps == []
    [incident] = ledger.incidents
    assert incident.ended_s is None


def test_a_monitor_that_slept_did_not_watch() -> None:
    late = Observation(BEGAN_S + 60, "health", 3_600_000.0, failure="unsent")

    ledger = ledger_of(*minute(), late, *minute(starts_s=3660))

    assert [gap.lasted_s for gap in ledger.gaps] == [3601]
    assert ledger.incidents == []


def test_an_answer_that_comes_late_is_no_gap() -> None:
    others = [seen(second, target="ping") for second in range(60)]

    ledger = ledger_of(*others, seen(10, failure="timeout", took_ms=50_000), seen(60, target="ping"))

    assert ledger.gaps == []


def test_another_build_is_noticed_once() -> None:
    notes = ["1 a", "1 a", "", "1 a", "2 b", "2 b"]

    ledger = ledger_of(*(seen(second, target="version", note=note) for second, note in enumerate(notes)))

    [deploy] = ledger.deploys
    assert (deploy.at_s, deploy.was, deploy.now) == (BEGAN_S + 4, "1 a", "2 b")


def test_an_alert_keeps_its_worst_and_knows_what_it_is_now() -> None:
    records = (alert(0, "warning"), alert(1, "critical"), alert(2, "warning"))

    ledger = ledger_of(*records)

    [incident] = ledger.incidents
    assert (incident.kind, incident.level) == ("alert", "critical")
    assert ledger.alert_levels == {"health_success": "warning"}
    ledger.add(alert(3, "ok"))
    assert incident.ended_s == BEGAN_S + 3
    assert (ledger.alerts, ledger.alert_levels) == ({}, {})


def test_an_all_clear_without_an_alert_is_nothing() -> None:
    assert ledger_of(alert(0, "ok")).incidents == []


def test_a_restless_target_takes_no_more_memory_than_this() -> None:
    ledger = ledger_of()
    for number in range(1500):
        at_s = 5 * number
        for record in (seen(at_s, 503, code=f"code_{number}"), seen(at_s + 1, 503), seen(at_s + 2), seen(at_s + 3)):
            ledger.add(record.record())

    assert len(ledger.incidents) == MOST_KEPT
    assert ledger.left_out["incidents"] == 500
    assert len(ledger.accounts["health"].outcomes) <= 51
    assert ledger.accounts["health"].down_s == 3000


def test_a_monitor_that_restarts_for_ever_counts_each_gap_once() -> None:
    ledger = ledger_of()
    for number in range(1, MOST_KEPT + 101):
        for record in (run(100 * number), seen(100 * number).record()):
            ledger.add(record)

    assert len(ledger.runs) == MOST_KEPT
    assert ledger.unwatched_s == 100 * (MOST_KEPT + 100)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"kind": "observation", "at": 1},
        {"kind": "mood", "at": 1},
        {"kind": "end"},
        {"kind": "end", "at": []},
        {"kind": [], "at": 1},
        {"kind": "run", "at": 1},
        {"kind": "run", "at": 1, "schema": 2, "interval_s": 1},
        {"kind": "alert", "at": 1, "alert": "a", "text": "t", "level": "loud"},
    ],
)
def test_what_is_no_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ledger_of().add(record)


def test_a_file_begins_with_its_run() -> None:
    with pytest.raises(ValueError):
        Aggregate().add(seen().record())


def test_news_are_told_as_they_happen() -> None:
    ledger = ledger_of(seen(0), seen(1, 503, code="busy"))

    assert ledger.add(seen(2, 503, code="busy").record()) == ["health: answered 503 busy"]
    assert ledger.add(seen(3, 503, code="busy").record()) == []
    assert ledger.add(seen(4).record()) == ["health: over after 3.0 s (answered 503 busy)"]
    assert ledger.add(seen(100).record()) == ["not watched for 96 s"]
