"""Samples of handed-out tokens: judged by the watch, shared by all workers, over when it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import LogLines
from tests.unit.telemetry.answers import Child, HandClock
from velro_auth.auth.own_tokens import CAUSES, ISSUER, SECRET, Cause, Refused
from velro_auth.checks import Finding
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.assembly import Telemetry, assemble
from velro_auth.telemetry.handed_out import HOLD_S, HandedOut
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.slo import Promise

Fork = Callable[[Callable[[], object]], Child]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Verdicts:
    """Refuses tokens by what they are called, and remembers which it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, token: str) -> Refused | None:
        self.shown.append(token)
        causes: dict[str, Cause] = {"issuer": ISSUER, "secret": SECRET}
        return Refused(causes[token], "a detail") if token in causes else None


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


@pytest.fixture
def handed_out(verdicts: Verdicts, clock: HandClock) -> HandedOut:
    return HandedOut(verdicts, Workers(workers=2), clock=clock)


def hand_out(handed_out: HandedOut, *tokens: str) -> None:
    for token in tokens:
        handed_out.note(token)
        handed_out.look()


def test_a_request_only_leaves_its_token_and_one_look_judges_the_newest(
    handed_out: HandedOut, verdicts: Verdicts
) -> None:
    for number in range(1000):
        handed_out.note(f"good {number}")
    assert verdicts.shown == []

    handed_out.look()
    handed_out.look()

    assert verdicts.shown == ["good 999"]


def test_before_the_first_login_nothing_is_wrong(handed_out: HandedOut) -> None:
    handed_out.look()

    assert handed_out.check() == Finding("pass")


def test_a_refused_token_is_a_warning_that_names_the_setting(handed_out: HandedOut) -> None:
    hand_out(handed_out, "good", "secret")

    found = handed_out.check()

    assert found.status == "warn"
    assert "SUPABASE_JWT_SECRET" in found.output


def test_it_is_over_when_tokens_are_accepted_again_for_a_minute(handed_out: HandedOut, clock: HandClock) -> None:
    hand_out(handed_out, "issuer")
    clock.advance(HOLD_S - 1)
    hand_out(handed_out, "good")
    assert handed_out.check().status == "warn"

    clock.advance(1)

    assert handed_out.check().status == "pass"


def test_time_alone_mends_nothing(handed_out: HandedOut, clock: HandClock) -> None:
    hand_out(handed_out, "good", "issuer")

    clock.advance(100_000)

    assert handed_out.check().status == "warn"


def test_a_hook_that_spoils_some_tokens_only_is_told_all_the_while(handed_out: HandedOut, clock: HandClock) -> None:
    for _ in range(20):
        hand_out(handed_out, "issuer")
        for _ in range(5):
            clock.advance(5)
            hand_out(handed_out, "good")
            assert handed_out.check().status == "warn"


def test_the_log_names_the_setting_once_for_each_cause(handed_out: HandedOut, clock: HandClock, logs: LogLines) -> None:
    for _ in range(10):
        hand_out(handed_out, "issuer")
        clock.advance(5)
    hand_out(handed_out, "secret")

    lines = [vars(record) for record in logs.records if record.name == "velro_auth.alerts"]
    assert [(line["levelname"], line["cause"], line["detail"]) for line in lines] == [
        ("ERROR", "issuer", "a detail"),
        ("ERROR", "secret", "a detail"),
    ]
    assert "AUTH_ISSUERS" in lines[0]["advice"]


def test_every_worker_knows_what_one_found(handed_out: HandedOut, clock: HandClock, fork: Fork) -> None:
    fork(lambda: hand_out(handed_out, "issuer"))
    assert handed_out.cause() is ISSUER

    clock.advance(HOLD_S)
    fork(lambda: hand_out(handed_out, "good"))

    assert handed_out.cause() is None


# The alert


class Instance:
    """One login every five seconds, and the watch looks."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.announced: list[Announcement] = []
        self.telemetry: Telemetry = assemble(
            routes=["login"],
            outcomes=["ok"],
            outputs=[self.announced.append],
            refused=Verdicts(),
            watch_every_s=3600.0,
            clock=clock,
        )

    def serve(self, token: str, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            self.telemetry.handed_out.note(token)
            self.telemetry.watch.look()
            self.clock.advance(5)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(change.alert, change.level) for change in self.announced]


@pytest.fixture
def instance(clock: HandClock) -> Instance:
    return Instance(clock)


def test_one_login_is_enough_for_the_alert(instance: Instance) -> None:
    """Twenty are needed for the others."""
    instance.telemetry.handed_out.note("issuer")
    for _ in range(3):
        instance.telemetry.watch.look()
        instance.clock.advance(5)

    assert instance.told == [("login_tokens", "warning")]
    assert instance.announced[0].text == f"warning: {ISSUER}"
    assert instance.announced[0].fields()["runbook"].endswith("#login_tokens")


def test_the_alert_warns_and_takes_no_instance_out(instance: Instance) -> None:
    instance.serve("issuer", 600)

    assert instance.told == [("login_tokens", "warning")]
    assert instance.telemetry.check().status == "warn"


def test_the_all_clear_is_announced_once(instance: Instance) -> None:
    instance.serve("secret", 60)

    instance.serve("good", 600)

    assert instance.told == [("login_tokens", "warning"), ("login_tokens", "ok")]
    assert instance.telemetry.check() == Finding("pass")


def test_the_alert_outlives_another_promise(instance: Instance) -> None:
    instance.serve("secret", 60)

    instance.telemetry.judge.demand(Promise(p95_warning_ms=1))
    instance.serve("good", 600)

    assert instance.told == [("login_tokens", "warning"), ("login_tokens", "ok")]


def test_every_cause_has_a_sentence_for_the_alert(handed_out: HandedOut) -> None:
    rule = handed_out.rule()

    for number, cause in enumerate(CAUSES):
        assert rule.level(number) == ("ok" if cause is None else "warning")
        assert cause is None or rule.describe(number, "warning") == str(cause)
