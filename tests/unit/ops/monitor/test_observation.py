"""What an answer counts as, and its line in the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ops.monitor.records import observed
from velro_auth.ops.monitor.observation import FAILURES, TARGETS, Failure, Observation


@pytest.mark.parametrize(
    ("target", "status", "result"),
    [
        ("health", 200, "success"),
        ("logout", 204, "success"),
        ("login", 200, "success"),
        ("login", 401, "failure"),
        ("login", 422, "failure"),
        ("login", 429, "throttled"),
        ("ping", 429, "throttled"),
        ("ready", 503, "failure"),
        ("version", 404, "failure"),
        ("health", 301, "failure"),
        ("health", None, "failure"),
    ],
)
def test_what_an_answer_counts_as(target: str, status: int | None, result: str) -> None:
    assert observed(status=status, target=target).result == result


@pytest.mark.parametrize("failure", [name for name in FAILURES if name not in {"", "unsent"}])
def test_no_usable_answer_is_a_failure(failure: Failure) -> None:
    assert observed(failure=failure).result == "failure"


def test_what_was_never_sent_says_nothing() -> None:
    assert observed(failure="unsent").result == "unsent"


def test_a_good_status_with_garbage_is_a_failure() -> None:
    assert Observation(0.0, "health", 1.0, status=200, failure="garbage").result == "failure"


def test_only_a_login_can_be_refused_for_its_account() -> None:
    assert observed(status=401, target="login").refuses_account
    assert not observed(status=401, target="ping").refuses_account
    assert not observed(status=503, target="login").refuses_account


def test_a_quick_refusal_has_no_latency_and_a_timeout_has() -> None:
    assert observed().has_latency
    assert observed(failure="timeout").has_latency
    assert not observed(failure="connection").has_latency
    assert not observed(status=503).has_latency


@given(
    at_s=st.floats(1e9, 2e9).map(lambda value: round(value, 3)),
    target=st.sampled_from(list(TARGETS)),
    took_ms=st.floats(0, 1e6).map(lambda value: round(value, 3)),
    status=st.none() | st.integers(100, 599),
    failure=st.sampled_from(FAILURES),
    code=st.text(max_size=5),
    own_ms=st.none() | st.integers(0, 1000).map(float),
)
def test_a_line_holds_the_whole_observation(**fields: object) -> None:
    made = Observation(**fields)  # type: ignore[arg-type] # what hypothesis chose

    assert Observation.of(json.loads(json.dumps(made.record()))) == made


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"target": "health"},
        {"target": "elsewhere", "at": 1, "took_ms": 1},
        {"target": "health", "at": "soon", "took_ms": 1},
        {"target": "health", "at": 1, "took_ms": None},
        {"target": "health", "at": 1, "took_ms": 1, "failure": "mood"},
    ],
)
def test_what_is_no_observation_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Observation.of(record)
