"""Samples of issued tokens: checked by the periodic jobs, shared by all workers, over when it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import LogLines
from tests.unit.telemetry.answers import Child, HandClock
from velro_auth.auth.token_check import CAUSES, ISSUER, SECRET, Cause, Refused
from velro_auth.health_checks import Finding
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.issued_tokens import HOLD_S, IssuedTokens
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.slo import SloTarget
from velro_auth.telemetry.telemetry import Routes, Telemetry

Fork = Callable[[Callable[[], object]], Child]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class TokenChecks:
    """Refuses tokens by what they are called, and remembers which it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, token: str) -> Refused | None:
        self.shown.append(token)
        causes: dict[str, Cause] = {"issuer": ISSUER, "secret": SECRET}
        return Refused(causes[token], "a detail") if token in causes else None


@pytest.fixture
def checks() -> TokenChecks:
    return TokenChecks()


@pytest.fixture
def issued_tokens(checks: TokenChecks, clock: HandClock) -> IssuedTokens:
    return IssuedTokens(checks, Workers(workers=2), clock=clock)


def hand_out(issued_tokens: IssuedTokens, *tokens: str) -> None:
    for token in tokens:
        issued_tokens.record(token)
        issued_tokens.check_newest()


def test_a_request_only_leaves_its_token_and_the_next_check_takes_the_newest(
    issued_tokens: IssuedTokens, checks: TokenChecks
) -> None:
    for number in range(1000):
        issued_tokens.record(f"good {number}")
    assert checks.shown == []

    issued_tokens.check_newest()
    issued_tokens.check_newest()

    assert checks.shown == ["good 999"]


def test_before_the_first_login_nothing_is_wrong(issued_tokens: IssuedTokens) -> None:
    issued_tokens.check_newest()

    assert issued_tokens.check() == Finding("pass")


def test_a_refused_token_is_a_warning_that_names_the_setting(issued_tokens: IssuedTokens) -> None:
    hand_out(issued_tokens, "good", "secret")

    found = issued_tokens.check()

    assert found.status == "warn"
    assert "SUPABASE_JWT_SECRET" in found.output


def test_it_is_over_when_tokens_are_accepted_again_for_a_minute(issued_tokens: IssuedTokens, clock: HandClock) -> None:
    hand_out(issued_tokens, "issuer")
    clock.advance(HOLD_S - 1)
    hand_out(issued_tokens, "good")
    assert issued_tokens.check().status == "warn"

    clock.advance(1)

    assert issued_tokens.check().status == "pass"


def test_time_alone_mends_nothing(issued_tokens: IssuedTokens, clock: HandClock) -> None:
    hand_out(issued_tokens, "good", "issuer")

    clock.advance(100_000)

    assert issued_tokens.check().status == "warn"


def test_a_hook_that_breaks_some_tokens_only_is_reported_all_the_while(
    issued_tokens: IssuedTokens, clock: HandClock
) -> None:
    for _ in range(20):
        hand_out(issued_tokens, "issuer")
        for _ in range(5):
            clock.advance(5)
            hand_out(issued_tokens, "good")
            assert issued_tokens.check().status == "warn"


def test_the_log_names_the_setting_once_for_each_cause(
    issued_tokens: IssuedTokens, clock: HandClock, logs: LogLines
) -> None:
    for _ in range(10):
        hand_out(issued_tokens, "issuer")
        clock.advance(5)
    hand_out(issued_tokens, "secret")

    lines = [vars(record) for record in logs.records if record.name == "velro_auth.alerts"]
    assert [(line["levelname"], line["cause"], line["detail"]) for line in lines] == [
        ("ERROR", "issuer", "a detail"),
        ("ERROR", "secret", "a detail"),
    ]
    assert "AUTH_ISSUERS" in lines[0]["advice"]


def test_every_worker_knows_what_one_found(issued_tokens: IssuedTokens, clock: HandClock, fork: Fork) -> None:
    fork(lambda: hand_out(issued_tokens, "issuer"))
    assert issued_tokens.cause() is ISSUER

    clock.advance(HOLD_S)
    fork(lambda: hand_out(issued_tokens, "good"))

    assert issued_tokens.cause() is None


# The alert


class Instance:
    """One login every five seconds, and the periodic jobs run."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.announced: list[Announcement] = []
        self.telemetry: Telemetry = Telemetry(
            routes=Routes({"/login": "login"}),
            outcomes=["ok"],
            outputs=[self.announced.append],
            check_token=TokenChecks(),
            jobs_every_s=3600.0,
            clock=clock,
        )

    def serve(self, token: str, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            self.telemetry.issued_tokens.record(token)
            self.telemetry.jobs.run_once()
            self.clock.advance(5)

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(change.alert, change.level) for change in self.announced]


@pytest.fixture
def instance(clock: HandClock) -> Instance:
    return Instance(clock)


def test_one_login_is_enough_for_the_alert(instance: Instance) -> None:
    """Twenty are needed for the others."""
    instance.telemetry.issued_tokens.record("issuer")
    for _ in range(3):
        instance.telemetry.jobs.run_once()
        instance.clock.advance(5)

    assert instance.changes == [("login_tokens", "warning")]
    assert instance.announced[0].text == f"warning: {ISSUER}"
    assert instance.announced[0].fields()["runbook"].endswith("#login_tokens")


def test_the_alert_warns_and_takes_no_instance_out(instance: Instance) -> None:
    instance.serve("issuer", 600)

    assert instance.changes == [("login_tokens", "warning")]
    assert instance.telemetry.check().status == "warn"


def test_the_all_clear_is_announced_once(instance: Instance) -> None:
    instance.serve("secret", 60)

    instance.serve("good", 600)

    assert instance.changes == [("login_tokens", "warning"), ("login_tokens", "ok")]
    assert instance.telemetry.check() == Finding("pass")


def test_the_alert_outlives_another_target(instance: Instance) -> None:
    instance.serve("secret", 60)

    instance.telemetry.set_target(SloTarget(p95_warning_ms=1))
    instance.serve("good", 600)

    assert instance.changes == [("login_tokens", "warning"), ("login_tokens", "ok")]


def test_every_cause_has_a_sentence_for_the_alert(issued_tokens: IssuedTokens) -> None:
    rule = issued_tokens.rule()

    for number, cause in enumerate(CAUSES):
        assert rule.level(number) == ("ok" if cause is None else "warning")
        assert cause is None or rule.describe(number, "warning") == str(cause)
