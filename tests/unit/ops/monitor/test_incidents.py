"""Incidents begin with the first failure and end with the next success."""

from __future__ import annotations

from tests.unit.ops.monitor.records import BEGAN_S, observed
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.target_statistics import Incident, IncidentTracker


def track(*observations: Observation) -> tuple[IncidentTracker, list[Incident]]:
    tracker = IncidentTracker()
    return tracker, [incident for one in observations for incident in tracker.add(one)]


def test_one_failure_is_no_incident() -> None:
    tracker, changed = track(observed(0), observed(1, 503), observed(2), observed(3, 503), observed(4))

    assert changed == []
    assert tracker.current is None


def test_from_the_first_failure_to_the_next_success() -> None:
    _, changed = track(
        observed(0), observed(1, failure="timeout"), observed(2, 503, note="slo"), observed(3, 503), observed(7)
    )

    [incident, again] = changed
    assert incident is again
    assert (incident.began_s, incident.ended_s) == (BEGAN_S + 1, BEGAN_S + 7)
    assert (incident.kind, incident.ended_by) == ("outage", "recovery")
    assert str(incident) == "health: no answer in time"
    assert incident.outcomes == {"timeout": 1, "503": 2}
    assert incident.lasted_s(0) == 6


def test_a_refused_account_is_its_own_incident_at_once() -> None:
    _, [incident] = track(observed(0, 401, target="login", code="invalid_credentials"))

    assert incident.kind == "account"
    assert incident.what == "the watched account is refused (401 invalid_credentials): is its password still right?"


def test_an_outage_that_turns_into_a_refusal_is_two_incidents() -> None:
    tracker, changed = track(
        *(observed(after_s, 503, target="login") for after_s in range(3)),
        observed(3, 401, target="login"),
    )

    opened, closed, refused = changed
    assert opened is closed
    assert closed.ended_by == "changed"
    assert refused.kind == "account"
    assert tracker.current is refused


def test_throttled_and_unsent_neither_begin_nor_end_anything() -> None:
    tracker, changed = track(
        observed(0, 429), observed(1, 429), observed(2, 503), observed(3, failure="unsent"), observed(4, 503)
    )

    assert len(changed) == 1
    assert tracker.current is changed[0]
    assert changed[0].began_s == BEGAN_S + 2
    assert tracker.add(observed(5, 429)) == []


def test_what_strangers_answer_is_bounded() -> None:
    _, [incident] = track(*(observed(number, 503, code=f"code_{number}") for number in range(100)))

    assert len(incident.outcomes) == 21
    assert incident.outcomes.total() == 100
