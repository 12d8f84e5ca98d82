"""Losses of the audit trail are counted, logged now and then, and shown by readiness."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import LogLines
from tests.unit.telemetry.answers import Child, HandClock, repeat
from velro_auth.telemetry.audit import LOG_EVERY_S, WARN_FOR_S, LostRecords
from velro_auth.telemetry.shared import Workers

Fork = Callable[[Callable[[], object]], Child]


def said(logs: LogLines) -> list[int]:
    return [vars(record)["lost"] for record in logs.records if record.getMessage() == "audit records were lost"]


def test_losses_are_logged_once_a_minute_with_their_number(clock: HandClock, logs: LogLines) -> None:
    lost_records = LostRecords(Workers(), clock=clock)
    lost_records.log_new()
    assert said(logs) == []

    repeat(3, lost_records.record)
    lost_records.log_new()
    repeat(4, lost_records.record)
    lost_records.log_new()
    assert said(logs) == [3]

    clock.advance(LOG_EVERY_S)
    lost_records.log_new()
    clock.advance(LOG_EVERY_S)
    lost_records.log_new()

    assert said(logs) == [3, 4]
    assert lost_records.in_process == 7


def test_the_end_of_a_process_says_what_was_not_said(clock: HandClock, logs: LogLines) -> None:
    lost_records = LostRecords(Workers(), clock=clock)
    lost_records.record()
    lost_records.log_new()
    lost_records.record()

    lost_records.log_now()

    assert said(logs) == [1, 1]


def test_readiness_warns_for_five_minutes(clock: HandClock) -> None:
    lost_records = LostRecords(Workers(), clock=clock)
    assert lost_records.check().status == "pass"

    lost_records.record()
    clock.advance(60)

    assert lost_records.check().status == "warn"
    assert "1 audit records could not be written, the last 60 s ago" in lost_records.check().output
    clock.advance(WARN_FOR_S)
    assert lost_records.check().status == "pass"


def test_every_worker_knows_of_the_losses_of_the_others_and_counts_its_own(fork: Fork) -> None:
    lost_records = LostRecords(Workers())
    lost_records.record()

    def work() -> None:
        repeat(2, lost_records.record)
        assert lost_records.in_process == 2

    fork(work)

    assert lost_records.in_process == 1
    assert lost_records.check().output.startswith("3 audit records")
