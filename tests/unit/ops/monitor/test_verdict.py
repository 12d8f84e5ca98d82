"""How good it was, all in all."""

from __future__ import annotations

import pytest

from tests.unit.ops.monitor.records import aggregate_of, alert, end, observed
from velro_auth.ops.monitor.document import verdict_on
from velro_auth.ops.verdict import Grade

WELL = [observed(second) for second in range(30)]


def test_a_quiet_watch_is_good() -> None:
    verdict = verdict_on(aggregate_of(*WELL))

    assert (verdict.grade, verdict.reasons) == (Grade.GOOD, ())


def test_few_answers_prove_little_and_are_no_fault() -> None:
    verdict = verdict_on(aggregate_of(*WELL[:19]))

    assert verdict.grade is Grade.GOOD
    assert verdict.reasons == ("fewer than 20 answers, too few to raise an alert: health 19",)


def test_few_answers_of_several_targets_are_one_reason() -> None:
    few = [observed(second, target=target) for second in (30, 31) for target in ("ping", "ready")]
    verdict = verdict_on(aggregate_of(*WELL, *few))

    assert verdict.reasons == ("fewer than 20 answers, too few to raise an alert: ping 2, ready 2",)


@pytest.mark.parametrize(("lasts_s", "grade"), [(9, Grade.WARNING), (10, Grade.CRITICAL)])
def test_an_outage_is_critical_when_it_lasts(lasts_s: int, grade: Grade) -> None:
    outage = [observed(30 + second, 503) for second in range(lasts_s)]

    verdict = verdict_on(aggregate_of(*WELL, *outage, observed(30 + lasts_s)))

    assert verdict.grade is grade
    assert verdict.reasons == (f"health: answered 503, {lasts_s}.0 s",)


def test_an_outage_that_is_not_over_counts_until_the_end() -> None:
    verdict = verdict_on(aggregate_of(*WELL, observed(30, 503), observed(31, 503), end(33)))

    assert verdict.reasons == ("health: answered 503, 3.0 s and not over",)


@pytest.mark.parametrize(("level", "grade"), [("warning", Grade.WARNING), ("critical", Grade.CRITICAL)])
def test_an_alert_counts_as_what_it_was_at_worst(level: str, grade: Grade) -> None:
    assert verdict_on(aggregate_of(*WELL, alert(31, level), alert(32, "ok"))).grade is grade


def test_429_is_a_warning() -> None:
    verdict = verdict_on(aggregate_of(*WELL, observed(31, 429), observed(32, 429)))

    assert verdict.grade is Grade.WARNING
    assert verdict.reasons == ("health: 2 times answered 429",)


def test_a_long_list_of_reasons_is_cut() -> None:
    outages = [observed(30 + 4 * number + part, 503 if part < 2 else 200) for number in range(30) for part in range(4)]

    reasons = verdict_on(aggregate_of(*WELL, *outages)).reasons

    assert len(reasons) == 21
    assert reasons[-1] == "and 10 more"


@pytest.mark.parametrize("times", [1, 4])
def test_what_never_answered_is_critical_however_short_the_watch_was(times: int) -> None:
    """Case 32: an outage that lasted as long as the whole watch is not known to be a short one."""
    silence = [observed(second, failure="connection") for second in range(times)]

    verdict = verdict_on(aggregate_of(*silence))

    assert verdict.grade is Grade.CRITICAL
    assert verdict.reasons[0] == "health: never answered"


def test_one_target_that_never_answers_is_critical_beside_others_that_do() -> None:
    silence = [observed(second, target="ready", failure="timeout") for second in (30, 31)]

    assert verdict_on(aggregate_of(*WELL, silence[0])).grade is Grade.GOOD
    verdict = verdict_on(aggregate_of(*WELL, *silence))
    assert verdict.grade is Grade.CRITICAL
    assert "ready: never answered" in verdict.reasons


def test_a_target_that_was_never_asked_is_not_accused() -> None:
    verdict = verdict_on(aggregate_of(*WELL, observed(30, target="ready", failure="unsent")))

    assert verdict.grade is Grade.GOOD


def test_an_answer_of_any_kind_is_an_answer() -> None:
    """Two times 503 in a short watch are the warning that they were."""
    assert verdict_on(aggregate_of(observed(0, 503), observed(1, 503))).grade is Grade.WARNING
