"""What is asked, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from velro_auth.ops.monitor.observation import Failure, Observation
from velro_auth.ops.monitor.probes import Get, Login
from velro_auth.ops.monitor.wire import Heard

PASSWORD = "canary-password"
TOKEN = "canary-token"


class Gateway:
    """Answers as it is told."""

    def __init__(self, *answers: Heard) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Mapping[str, str] | None, str | None]] = []

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Heard:
        self.asked.append((method, path, body, bearer))
        return self.answers.pop(0)


def heard(
    status: int | None = 200, body: Mapping[str, Any] | None = None, failure: Failure = "", *, timing: str = ""
) -> Heard:
    return Heard(status, failure, {"Server-Timing": timing}, {"status": "ok"} if body is None else body)


def look(target: str, answer: Heard) -> Observation:
    [found] = Get(target, Gateway(answer), lambda: 10.5)(10.0)
    return found


def log_in(*answers: Heard) -> tuple[list[Observation], Gateway]:
    gateway = Gateway(*answers)
    return list(Login("ada@example.com", PASSWORD, gateway, lambda: 10.5)(10.0)), gateway


def test_time_counts_from_the_moment_it_was_due() -> None:
    assert look("health", heard()).took_ms == pytest.approx(500)


def test_a_page_with_status_200_is_garbage() -> None:
    found = look("health", heard(body={}))

    assert (found.status, found.outcome, found.verdict) == (200, "garbage", "failure")


def test_the_version_tells_the_build() -> None:
    body = {"version": "1.2.3", "commit": "c0ffee", "deployment": {"id": "d-1", "region": "ams"}}

    assert look("version", heard(body=body)).note == "1.2.3 c0ffee d-1"


@pytest.mark.parametrize("body", [{"version": None}, {"version": "a\nb"}, {"version": "x" * 65}, {"deployment": []}])
def test_a_strange_build_is_none(body: Mapping[str, Any]) -> None:
    assert look("version", heard(body=body)).note == ""


def test_readiness_tells_which_checks_do_not_pass() -> None:
    checks = {
        "slo": [{"status": "fail", "output": "a story"}],
        "settings": [{"status": "pass"}],
        "keys": "?",
        "<b>": [],
    }

    found = look("ready", heard(503, {"checks": checks}))

    assert found.note == "keys, slo"


def test_a_login_is_followed_by_its_logout() -> None:
    timing = "total;dur=12.5, upstream;dur=10.0"
    found, gateway = log_in(heard(body={"access_token": TOKEN}, timing=timing), heard(204, {}))

    assert [(one.target, one.outcome) for one in found] == [("login", "200"), ("logout", "204")]
    assert found[0].own_ms == 2.5
    assert gateway.asked[1] == ("POST", "/api/v1/auth/logout?scope=local", None, TOKEN)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (heard(401, {"code": "invalid_credentials"}), "401 invalid_credentials"),
        (heard(None, {}, "timeout"), "timeout"),
        (heard(200, {"access_token": 7}), "garbage"),
        (heard(503, {"code": "Not <a> code"}), "503"),
    ],
)
def test_a_login_without_a_session_has_no_logout(answer: Heard, outcome: str) -> None:
    found, gateway = log_in(answer)

    assert [(one.target, one.outcome) for one in found] == [("login", outcome)]
    assert len(gateway.asked) == 1


def test_neither_password_nor_token_can_be_printed() -> None:
    login = Login("ada@example.com", PASSWORD, Gateway(), lambda: 0.0)
    answer = heard(body={"access_token": TOKEN})
    found, _ = log_in(answer, heard(204))

    printed = f"{login!r} {answer!r} {found!r} {[one.record() for one in found]}"

    assert PASSWORD not in printed
    assert TOKEN not in printed
    assert "ada@" not in printed
