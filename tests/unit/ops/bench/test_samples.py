"""What an answer counts as."""

from __future__ import annotations

import pytest

from tests.unit.ops.bench.samples import sample
from velro_auth.ops.bench.openloop import Answer, own_share_ms
from velro_auth.ops.bench.schedule import KINDS, Kind


@pytest.mark.parametrize(
    ("kind", "status", "is_expected"),
    [
        ("good", 200, True),
        ("good", 201, False),
        ("good", 302, False),
        ("good", 401, False),
        ("good", 503, False),
        ("wrong_password", 401, True),
        ("wrong_password", 200, False),
        ("wrong_password", 500, False),
        ("unknown_user", 401, True),
        ("unknown_user", 404, False),
        ("unknown_user", 503, False),
    ],
)
def test_only_the_one_right_status_is_right(kind: Kind, status: int, *, is_expected: bool) -> None:
    assert sample(kind, status).is_expected is is_expected
    assert sample(kind, status).counted_as == kind


@pytest.mark.parametrize("kind", KINDS)
def test_429_is_counted_apart_whatever_was_asked(kind: Kind) -> None:
    assert sample(kind, 429).counted_as == "throttled"
    assert sample(kind, 429).is_expected


@pytest.mark.parametrize("failure", ["timeout", "connection", "unsent"])
def test_no_answer_is_never_right(failure: str) -> None:
    lost = sample(answer=Answer(None, failure=failure))  # type: ignore[arg-type] # the parameters are failures

    assert not lost.is_expected
    assert lost.counted_as == "good"
    assert lost.outcome == failure


@pytest.mark.parametrize(
    ("answer", "has_latency"),
    [
        (Answer(200), True),
        (Answer(None, failure="timeout"), True),
        (Answer(None, failure="unsent"), True),
        (Answer(None, failure="connection"), False),
        (Answer(503), False),
    ],
)
def test_quick_failures_do_not_make_a_service_look_fast(answer: Answer, *, has_latency: bool) -> None:
    """And timeouts are not left out, which would flatter it as well."""
    assert sample(answer=answer).has_latency is has_latency


def test_an_outcome_names_the_code_beside_the_status() -> None:
    assert sample(answer=Answer(503, code="busy")).outcome == "503 busy"
    assert sample(answer=Answer(200)).outcome == "200"


@pytest.mark.parametrize(
    ("header", "own_ms"),
    [
        ("total;dur=62.4, upstream;dur=60.4", 2.0),
        ("total;dur=62.4, upstream;dur=60.4, queue;dur=5.0", 2.0),
        ('upstream;desc="Supabase";dur=60.4,total; dur=62.4', 2.0),
        ("total;dur=350.0", None),
        ("upstream;dur=3", None),
        ("total;dur=., upstream;dur=3", None),
        ("cache", None),
        ("", None),
    ],
)
def test_the_own_share_is_the_total_less_the_wait(header: str, own_ms: float | None) -> None:
    assert own_share_ms(header) == (None if own_ms is None else pytest.approx(own_ms))
