"""What is asked, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from velro_auth.ops.monitor.observation import Failure, Observation
from velro_auth.ops.monitor.probes import Answer, Client, GetProbe, LoginProbe

PASSWORD = "canary-password"
TOKEN = "canary-token"


class Gateway:
    """Returns the given answers."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, Mapping[str, str] | None, str | None]] = []

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Answer:
        self.requests.append((method, path, body, bearer))
        return self.answers.pop(0)


def answered(
    status: int | None = 200, body: Mapping[str, Any] | None = None, failure: Failure = "", *, timing: str = ""
) -> Answer:
    return Answer(status, failure, {"Server-Timing": timing}, {"status": "ok"} if body is None else body)


def probe(target: str, answer: Answer) -> Observation:
    [found] = GetProbe(target, cast("Client", Gateway(answer)), lambda: 10.5)(10.0)
    return found


def log_in(*answers: Answer) -> tuple[list[Observation], Gateway]:
    gateway = Gateway(*answers)
    return list(LoginProbe("ada@example.com", PASSWORD, cast("Client", gateway), lambda: 10.5)(10.0)), gateway


def test_time_counts_from_the_moment_it_was_due() -> None:
    assert probe("health", answered()).took_ms == pytest.approx(500)


def test_a_page_with_status_200_is_garbage() -> None:
    found = probe("health", answered(body={}))

    assert (found.status, found.outcome, found.result) == (200, "garbage", "failure")


def test_the_version_tells_the_build() -> None:
    body = {"version": "1.2.3", "commit": "c0ffee", "deployment": {"id": "d-1", "region": "ams"}}

    assert probe("version", answered(body=body)).note == "1.2.3 c0ffee d-1"


@pytest.mark.parametrize("body", [{"version": None}, {"version": "a\nb"}, {"version": "x" * 65}, {"deployment": []}])
def test_a_strange_build_is_none(body: Mapping[str, Any]) -> None:
    assert probe("version", answered(body=body)).note == ""


def test_readiness_tells_which_checks_do_not_pass() -> None:
    checks = {
        "slo": [{"status": "fail", "output": "a story"}],
        "settings": [{"status": "pass"}],
        "keys": "?",
        "<b>": [],
    }

    found = probe("ready", answered(503, {"checks": checks}))

    assert found.note == "keys, slo"


def test_a_login_is_followed_by_its_logout() -> None:
    timing = "total;dur=12.5, upstream;dur=10.0"
    found, gateway = log_in(answered(body={"access_token": TOKEN}, timing=timing), answered(204, {}))

    assert [(one.target, one.outcome) for one in found] == [("login", "200"), ("logout", "204")]
    assert found[0].own_ms == 2.5
    assert gateway.requests[1] == ("POST", "/api/v1/auth/logout?scope=local", None, TOKEN)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answered(401, {"code": "invalid_credentials"}), "401 invalid_credentials"),
        (answered(None, {}, "timeout"), "timeout"),
        (answered(200, {"access_token": 7}), "garbage"),
        (answered(503, {"code": "Not <a> code"}), "503"),
    ],
)
def test_a_login_without_a_session_has_no_logout(answer: Answer, outcome: str) -> None:
    found, gateway = log_in(answer)

    assert [(one.target, one.outcome) for one in found] == [("login", outcome)]
    assert len(gateway.requests) == 1


def test_neither_password_nor_token_can_be_printed() -> None:
    login = LoginProbe("ada@example.com", PASSWORD, cast("Client", Gateway()), lambda: 0.0)
    answer = answered(body={"access_token": TOKEN})
    found, _ = log_in(answer, answered(204))

    printed = f"{login!r} {answer!r} {found!r} {[one.record() for one in found]}"

    assert PASSWORD not in printed
    assert TOKEN not in printed
    assert "ada@" not in printed
