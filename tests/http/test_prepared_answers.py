"""``verify`` gives the same answer again without making it anew. Nobody may notice, except by the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from werkzeug.test import Client, run_wsgi_app
from werkzeug.wrappers import Request

from tests.conftest import LogLines, MakeClient
from tests.fixtures.tokens import claims_at, document
from tests.http.test_at_once import ENVIRONMENT, KEY, PUBLIC, VERIFY, bearer, cookie, environ, status, token
from tests.upstream_double import PROJECT
from velro_auth.app import Service
from velro_auth.context import CONTEXT, SAME_ANSWER, RequestContext, SameAnswer
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.web import prepared
from velro_auth.web.prepared import PreparedAnswer, PreparedAnswers

RELAY = "r" * 32
#: They differ from one answer to the next.
VOLATILE = {"X-Request-ID", "Server-Timing", "X-Fastlane-Time-Ms"}
APP = "https://app.example.com"


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.post(f"{PROJECT}/auth/v1/logout", status=204)
        yield mock


@pytest.fixture
def make_service(make_client: MakeClient, supabase: responses.RequestsMock) -> Callable[..., Service]:
    assert supabase

    def make(**variables: str) -> Service:
        base = {**ENVIRONMENT, "CORS_ORIGINS": APP, "TRUSTED_PROXIES": "127.0.0.1", "AUTH_RELAY_SECRET": RELAY}
        service = make_client(**base, **variables).application
        assert isinstance(service, Service)
        return service

    return make


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths for which the endpoint made an answer."""
    found: list[str] = []
    usual = VerifyEndpoint.__call__

    def call(self: VerifyEndpoint, request: Request) -> Any:
        found.append(request.path)
        return usual(self, request)

    monkeypatch.setattr(VerifyEndpoint, "__call__", call)
    return found


Answer = tuple[int, list[tuple[str, str]], bytes]


def answer(service: Service, asked: dict[str, Any], *, at_once: bool) -> Answer:
    """Return status, fields and body as the worker gets them."""
    if at_once:
        service.answers_at_once(asked)
    body, line, headers = run_wsgi_app(service, asked)
    assert {name for name, _ in headers if name in VOLATILE} >= {"X-Request-ID", "Server-Timing"}
    fields = sorted((name, value if name not in VOLATILE else "") for name, value in headers)
    return int(line[:3]), fields, re.sub(rb'"request_id": "[^"]*"', b"", b"".join(body))


_HEADERS: list[dict[str, str]] = [
    {},
    {"Origin": APP},
    {"Origin": PUBLIC},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
    {"X-Original-Method": "GET", "X-Original-URL": "https://site.example/a"},
    {"X-Original-Method": "POST", "X-Original-URL": "https://site.example/a"},
    {"X-Forwarded-Method": "DELETE"},
    {"X-Forwarded-Method": "delete", "Origin": PUBLIC},
    {"Upgrade": "websocket"},
    {"Sec-WebSocket-Version": "13"},
    {"Sec-Fetch-Mode": "websocket"},
    {"X-Velro-Relay": RELAY},
    {"X-Velro-Relay": "wrong"},
    {"X-Auth-Require": "role=nobody"},
    {"X-Auth-Require": "aal=aal1"},
    {"X-Request-ID": "given"},
    {"X-Railway-Request-Id": "railway"},
    {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"},
]
#: Of a line of the log: what differs from one request to the next.
_UNLIKE = {"created", "msecs", "relativeCreated", "request_id", "took_ms"}
_PATHS = [
    VERIFY,
    f"{VERIFY}/below/it",
    f"{VERIFY}?role=nobody",
    f"{VERIFY}/below?role=nobody",
    f"{VERIFY}?on_fail=login",
]


@pytest.mark.parametrize("of", [bearer, cookie])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_an_answer_that_is_given_again_is_the_one_that_would_be_made(
    service: Service, method: str, of: Callable[[str], dict[str, str]], logs: LogLines, made: list[str]
) -> None:
    value = token()
    assert status(service, environ(bearer(value))) == 200
    asked = [({**of(value), **headers}, path) for path in _PATHS for headers in _HEADERS]
    local: dict[str, Any] = {"environ_overrides": {"REMOTE_ADDR": "127.0.0.1"}, "method": method}
    fresh = [answer(service, environ(headers, path, **local), at_once=False) for headers, path in asked]
    first = len(logs.access)
    fresh_count = len(made)

    for turn in range(2):
        for (headers, path), expected in zip(asked, fresh, strict=True):
            assert answer(service, environ(headers, path, **local), at_once=True) == expected, (turn, headers, path)

    # Otherwise nothing was given again, and nothing compared.
    assert len(made) - fresh_count < 2 * fresh_count
    turns = [logs.access[start : start + len(asked)] for start in (first - len(asked), first, first + len(asked))]
    told = [[{name: value for name, value in line.items() if name not in _UNLIKE} for line in turn] for turn in turns]
    assert told[0] == told[1] == told[2]
    assert {"outcome", "lane", "path", "address"} <= told[0][0].keys()


@pytest.mark.parametrize("of", [bearer, cookie])
def test_the_second_answer_is_not_made_anew(
    service: Service, of: Callable[[str], dict[str, str]], made: list[str]
) -> None:
    asked = of(token())
    for _ in range(4):
        assert answer(service, environ(asked), at_once=True)[0] == 200

    # The first finds the token, the second makes the answer to keep.
    assert len(made) == 2


def test_each_user_gets_their_own_answer(service: Service) -> None:
    ada, bob = (
        bearer(KEY.token(claims_at(int(time.time()), iss=f"{PROJECT}/auth/v1", email=email)))
        for email in ("ada@example.com", "bob@example.com")
    )
    for _ in range(3):
        for headers, email in ((ada, "ada@example.com"), (bob, "bob@example.com")):
            code, fields, _ = answer(service, environ(headers), at_once=True)
            assert (code, dict(fields)["X-Auth-User-Email"]) == (200, email)


@pytest.mark.parametrize("of", [bearer, cookie])
def test_an_ended_session_gets_no_earlier_answer(service: Service, of: Callable[[str], dict[str, str]]) -> None:
    value = token()
    for _ in range(3):
        assert answer(service, environ(of(value)), at_once=True)[0] == 200

    assert Client(service).post("/api/v1/auth/logout?scope=local", headers=bearer(value)).status_code == 200

    assert answer(service, environ(of(value)), at_once=True)[0] == 401


def test_rules_are_asked_each_time(make_service: Callable[..., Service], tmp_path: Path, made: list[str]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\npath = "/open/**"\nallow = "signed-in"\n')
    service, value = make_service(AUTH_RULES_FILE=str(rules)), token()
    local: dict[str, Any] = {"environ_overrides": {"REMOTE_ADDR": "127.0.0.1"}}

    def code(path: str) -> int:
        gateway = {"X-Original-URL": f"https://site.example{path}", "X-Original-Method": "GET"}
        return answer(service, environ({**bearer(value), **gateway}, **local), at_once=True)[0]

    assert [code("/open/a"), code("/open/a"), code("/open/a"), code("/closed"), code("/open/a")] == [200] * 3 + [
        403,
        200,
    ]
    assert len(made) == 4
    asked = environ(bearer(value), **local)
    assert service.answers_at_once(asked)
    assert SAME_ANSWER not in asked


def test_new_settings_forget_earlier_answers(service: Service, made: list[str]) -> None:
    asked = bearer(token())
    for _ in range(3):
        answer(service, environ(asked), at_once=True)
    before = len(made)

    service._take(service._parts.state.current.settings)

    answer(service, environ(asked), at_once=True)
    assert len(made) == before + 1


def test_a_failure_is_not_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = bearer(token())
    assert answer(service, environ(asked), at_once=True)[0] == 200

    def fail(*_: object) -> None:
        raise RuntimeError("once")

    with monkeypatch.context() as patch:
        patch.setattr(VerifyEndpoint, "__call__", fail)
        assert answer(service, environ(asked), at_once=True)[0] == 500

    assert answer(service, environ(asked), at_once=True)[0] == 200


# -- what is kept -----------------------------------------------------------------------------------------------------


def context(**facts: Any) -> RequestContext:
    return RequestContext(request_id="id", address="192.0.2.1", arrived_s=0.0, **facts)


def keep(answers: PreparedAnswers, key: str, origin: str | None = None, **facts: Any) -> dict[str, Any]:
    """Keep an answer; return the environment of a request that depends on the same."""
    asked: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "HTTP_AUTHORIZATION": key,
        SAME_ANSWER: SameAnswer((key,), "HTTP_AUTHORIZATION", key),
        **({} if origin is None else {"HTTP_ORIGIN": origin}),
    }
    fields, line = facts.pop("fields", [("X-Auth-Email", key)]), facts.pop("status", "200 OK")
    asked[CONTEXT] = context(**facts)
    answers.keep(asked[SAME_ANSWER], asked, line, fields, b"")
    return asked


def find(answers: PreparedAnswers, asked: dict[str, Any]) -> PreparedAnswer | None:
    return answers.find(asked[SAME_ANSWER], asked)


@pytest.mark.parametrize(
    "facts",
    [
        {"status": "401 Unauthorized"},
        {"status": "200 Fine"},
        {"outcome": "busy"},
        {"upstream_ms": 0.1},
        {"allowance": object()},
        {"security_event": "session_ended"},
        {"shows_upstream": True},
        {"log_fields": {"not_refreshed": "busy"}},
        {"fields": [("set-cookie", "a=b")]},
        {"fields": [("X-Auth-Access-Token", "a.b.c")]},
        {"origin": f"https://{'a' * 300}.example"},
    ],
)
def test_an_answer_that_did_something_is_not_kept(facts: dict[str, Any]) -> None:
    answers = PreparedAnswers()

    assert find(answers, keep(answers, "ada", **facts)) is None
    assert find(answers, keep(answers, "ada")) is not None


def test_without_cookies_all_methods_are_alike(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    assert supabase
    service, value = make_client().application, token()
    assert isinstance(service, Service)
    for method in ("GET", "POST", "OPTIONS", "DELETE", "HEAD"):
        fresh = answer(service, environ(bearer(value), method=method), at_once=False)
        assert fresh[0] == 200
        for _ in range(2):
            assert answer(service, environ(bearer(value), method=method), at_once=True) == fresh


def test_an_answer_is_found_only_for_what_it_depends_on() -> None:
    answers = PreparedAnswers()
    asked = keep(answers, "ada", origin="https://a.example")

    assert find(answers, asked) is not None
    for other in (
        {"HTTP_ORIGIN": "https://b.example"},
        {"HTTP_AUTHORIZATION": "bob"},
        {"REQUEST_METHOD": "HEAD"},
        {SAME_ANSWER: SameAnswer(("bob",), "HTTP_AUTHORIZATION", "ada")},
    ):
        assert find(answers, {**asked, **other}) is None, other
    asked.pop("HTTP_ORIGIN")
    assert find(answers, asked) is None


def test_the_answers_are_bounded_and_nobody_pushes_others_out() -> None:
    answers = PreparedAnswers(3)
    users = [keep(answers, name) for name in ("ada", "bob", "cleo")]
    for number in range(9):
        keep(answers, "cleo", origin=f"https://{number}.example")
    assert [find(answers, one) is not None for one in users] == [True, True, False]

    dora = keep(answers, "dora")

    assert [find(answers, one) is not None for one in (*users, dora)] == [False, True, False, True]
    assert prepared.KEPT >= 1024
