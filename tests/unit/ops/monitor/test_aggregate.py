"""What a file comes to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ops.monitor.records import BEGAN_S, aggregate_of, alert, end, observed, run
from velro_auth.ops.monitor.aggregate import MAX_KEPT, Aggregate
from velro_auth.ops.monitor.observation import Observation


def minute(*, starts_s: float = 0.0, status: int = 200) -> list[Observation]:
    """Return a minute of answers, one a second."""
    return [observed(starts_s + second, status) for second in range(60)]


def test_a_quiet_minute() -> None:
    aggregate = aggregate_of(*minute(), end(60))

    assert aggregate.watched_s == 60
    assert aggregate.answers == 60
    assert aggregate.targets["health"].total.success_percent == 100
    assert (aggregate.incidents, aggregate.gaps, aggregate.version_changes) == ([], [], [])


def test_an_outage_has_a_begin_and_an_end_and_counts_as_down() -> None:
    aggregate = aggregate_of(*minute(), *minute(starts_s=60, status=503), *minute(starts_s=120))

    [incident] = aggregate.incidents
    assert (incident.began_s, incident.ended_s) == (BEGAN_S + 60, BEGAN_S + 120)
    assert aggregate.targets["health"].down_s == 60


def test_time_between_two_runs_was_not_watched_and_is_no_outage() -> None:
    aggregate = aggregate_of(*minute(), end(60), run(600), *minute(starts_s=600))

    [gap] = aggregate.gaps
    assert (gap.began_s, gap.ended_s) == (BEGAN_S + 60, BEGAN_S + 600)
    assert aggregate.watched_s == 59 + 60
    assert aggregate.incidents == []
    assert len(aggregate.runs) == 2


def test_a_monitor_that_was_killed_leaves_the_same_gap() -> None:
    aggregate = aggregate_of(*minute(), run(600), *minute(starts_s=600))

    assert [gap.lasted_s for gap in aggregate.gaps] == [541]


def test_an_outage_ends_at_the_gap() -> None:
    """It may have gone on, or not: what was not watched is not claimed."""
    aggregate = aggregate_of(*minute(status=503), run(600), *minute(starts_s=600, status=503), end(660))

    before, after = aggregate.incidents
    assert (before.ended_s, before.ended_by) == (BEGAN_S + 59, "unwatched")
    assert (after.began_s, after.ended_s) == (BEGAN_S + 600, None)


def test_a_restart_within_moments_interrupts_nothing() -> None:
    aggregate = aggregate_of(*minute(status=503), end(60), run(62), *minute(starts_s=62, status=503))

    assert aggregate.gaps == []
    [incident] = aggregate.incidents
    assert incident.ended_s is None


def test_a_monitor_that_slept_did_not_watch() -> None:
    late = Observation(BEGAN_S + 60, "health", 3_600_000.0, failure="unsent")

    aggregate = aggregate_of(*minute(), late, *minute(starts_s=3660))

    assert [gap.lasted_s for gap in aggregate.gaps] == [3601]
    assert aggregate.incidents == []


def test_an_answer_that_comes_late_is_no_gap() -> None:
    others = [observed(second, target="ping") for second in range(60)]

    aggregate = aggregate_of(*others, observed(10, failure="timeout", took_ms=50_000), observed(60, target="ping"))

    assert aggregate.gaps == []


def test_another_build_is_noticed_once() -> None:
    notes = ["1 a", "1 a", "", "1 a", "2 b", "2 b"]

    aggregate = aggregate_of(*(observed(second, target="version", note=note) for second, note in enumerate(notes)))

    [change] = aggregate.version_changes
    assert (change.at_s, change.before, change.after) == (BEGAN_S + 4, "1 a", "2 b")


def test_an_alert_keeps_its_worst_and_knows_what_it_is_now() -> None:
    records = (alert(0, "warning"), alert(1, "critical"), alert(2, "warning"))

    aggregate = aggregate_of(*records)

    [incident] = aggregate.incidents
    assert (incident.kind, incident.level) == ("alert", "critical")
    assert aggregate.alert_levels == {"health_success": "warning"}
    aggregate.add(alert(3, "ok"))
    assert incident.ended_s == BEGAN_S + 3
    assert (aggregate.alerts, aggregate.alert_levels) == ({}, {})


def test_an_all_clear_without_an_alert_is_nothing() -> None:
    assert aggregate_of(alert(0, "ok")).incidents == []


def test_a_restless_target_takes_no_more_memory_than_this() -> None:
    aggregate = aggregate_of()
    for number in range(1500):
        at_s = 5 * number
        for record in (
            observed(at_s, 503, code=f"code_{number}"),
            observed(at_s + 1, 503),
            observed(at_s + 2),
            observed(at_s + 3),
        ):
            aggregate.add(record.record())

    assert len(aggregate.incidents) == MAX_KEPT
    assert aggregate.left_out["incidents"] == 500
    assert len(aggregate.targets["health"].outcomes) <= 51
    assert aggregate.targets["health"].down_s == 3000


def test_a_monitor_that_restarts_for_ever_counts_each_gap_once() -> None:
    aggregate = aggregate_of()
    for number in range(1, MAX_KEPT + 101):
        for record in (run(100 * number), observed(100 * number).record()):
            aggregate.add(record)

    assert len(aggregate.runs) == MAX_KEPT
    assert aggregate.unwatched_s == 100 * (MAX_KEPT + 100)


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
        aggregate_of().add(record)


def test_a_file_begins_with_its_run() -> None:
    with pytest.raises(ValueError):
        Aggregate().add(observed().record())


def test_news_are_returned_as_they_happen() -> None:
    aggregate = aggregate_of(observed(0), observed(1, 503, code="busy"))

    assert aggregate.add(observed(2, 503, code="busy").record()) == ["health: answered 503 busy"]
    assert aggregate.add(observed(3, 503, code="busy").record()) == []
    assert aggregate.add(observed(4).record()) == ["health: over after 3.0 s (answered 503 busy)"]
    assert aggregate.add(observed(100).record()) == ["not watched for 96 s"]
