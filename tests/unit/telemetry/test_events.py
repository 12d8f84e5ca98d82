"""Events that an operator should know of, without a line for each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tests.conftest import LogLines
from tests.unit.telemetry.answers import HandClock, answer
from velro_auth.context import OVERSIZE
from velro_auth.telemetry.alerts import EVENTS, EventLog
from velro_auth.telemetry.telemetry import event_of
from velro_auth.upstream.translate import PASSWORD_GRANT, refusal
from velro_auth.upstream.transport.transport import Reply


def test_the_first_is_logged_at_once_and_the_rest_once_a_minute(logs: LogLines, clock: HandClock) -> None:
    events, context = EventLog(clock=clock), answer(503, outcome="upstream_misconfigured").context

    for _ in range(50):
        events.record("upstream_misconfigured", context)
        clock.advance(1)
    events.record("upstream_throttled", context)
    clock.advance(30)
    events.record("upstream_misconfigured", context)

    lines = [vars(record) for record in logs.records]
    assert [(line["event"], line["more_since_last"]) for line in lines] == [
        ("upstream_misconfigured", 0),
        ("upstream_throttled", 0),
        ("upstream_misconfigured", 49),
    ]
    assert {line["levelname"] for line in lines} == {"ERROR"}


def test_what_supabase_says_about_a_raising_trigger_is_told_from_other_failures() -> None:
    """Tied to the words that the translation notes, so that changing them is noticed here."""
    bodies = {"unexpected_failure": "upstream_db_trigger", "extra_failure": None}
    for code, event in bodies.items():
        reply = SimpleNamespace(
            status=500, headers={"Content-Type": "application/json"}, body=f'{{"error_code": "{code}"}}'.encode()
        )
        error = refusal(cast("Reply", reply), PASSWORD_GRANT)
        context = answer(503, outcome="upstream_error", reason=error.reason).context

        assert event_of(context) == event


def test_outcomes_that_are_events_are_found_and_others_are_not() -> None:
    for event in ("upstream_misconfigured", "upstream_throttled"):
        assert event_of(answer(503, outcome=event).context) == event
    assert event_of(answer(401, outcome="invalid_credentials").context) is None
    assert event_of(answer(200).context) is None
    assert event_of(answer(431, outcome="headers_too_large").context) == "headers_too_large"
    oversize = answer(200).context
    oversize.log_fields[OVERSIZE] = 20_000
    assert event_of(oversize) == "token_too_large"
    assert set(EVENTS) == {
        *("upstream_misconfigured", "upstream_throttled", "upstream_db_trigger"),
        *("token_too_large", "headers_too_large"),
    }
