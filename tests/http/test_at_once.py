"""``verify`` of a known token on the worker's main thread: what may be answered there waits for nothing."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import responses
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from tests.conftest import GOOD_LOGIN, SECRET_KEY, MakeClient
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, TOKEN, session
from velro_auth.app import Service
from velro_auth.auth.models import Session, User
from velro_auth.auth.sealing import sealing_keys
from velro_auth.context import RequestContext
from velro_auth.endpoints import cookie_sessions, verify
from velro_auth.fastlane import FastRequest
from velro_auth.web.session_cookies import SessionCookies

VERIFY = "/api/v1/auth/verify"
KEY = SigningKey("key-1")
PUBLIC = "https://auth.example.com"
ENVIRONMENT = {"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": PUBLIC}


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        mock.get(f"{PROJECT}/auth/v1/user", json={"id": "somebody"})
        mock.post(f"{PROJECT}/auth/v1/logout", status=204)
        yield mock


@pytest.fixture
def client(make_client: MakeClient, supabase: responses.RequestsMock) -> Client:
    assert supabase
    return make_client(**ENVIRONMENT)


@pytest.fixture
def service(client: Client) -> Service:
    assert isinstance(client.application, Service)
    return client.application


def token(*, left_s: int = 3540) -> str:
    return KEY.token(claims_at(int(time.time()) + left_s - 3600, iss=f"{PROJECT}/auth/v1"))


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def cookie(value: str, *, left_s: int = 3540) -> dict[str, str]:
    cookies = SessionCookies(sealing_keys((), secret=SECRET_KEY), public_url=PUBLIC)
    kept = Session(
        access_token=value,
        refresh_token="refresh-canary",
        expires_in=left_s,
        expires_at=int(time.time()) + left_s,
        user=User(id="u", email="e@example.com"),
    )
    ((_, field),) = cookies.keep(kept, FastRequest(environ()))
    return {"Cookie": field.partition(";")[0]}


def environ(headers: Mapping[str, str] | None = None, path: str = VERIFY, **more: Any) -> dict[str, Any]:
    return dict(EnvironBuilder(path, headers=list((headers or {}).items()), **more).get_environ())


def status(service: Service, asked: dict[str, Any]) -> int:
    return int(run_wsgi_app(service, asked)[1][:3])


def requests_in_memory() -> int:
    # By type: isinstance() asks the proxies of other libraries.
    return sum(type(one) in {RequestContext, FastRequest} for one in gc.get_objects())


@pytest.mark.parametrize("made", [bearer, cookie])
def test_only_a_token_that_was_verified_before_is_answered_at_once(
    service: Service, made: Callable[[str], dict[str, str]]
) -> None:
    headers = made(token())

    assert not service.answers_at_once(environ(headers))
    assert status(service, environ(headers)) == 200

    assert service.answers_at_once(environ(headers))
    assert service.answers_at_once(environ(headers, f"{VERIFY}/below/it"))
    assert service.answers_at_once(environ({**headers, "X-Auth-Require": "role=editor"}))
    assert not service.answers_at_once(environ(headers, f"{VERIFY}else"))
    assert not service.answers_at_once(environ(headers, "/api/v1/auth/me"))


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{VERIFY}?strict=1", {}),
        (f"{VERIFY}?str%69ct=1", {}),
        (VERIFY, {"X-Auth-Require": "strict=1"}),
        (f"{VERIFY}?typo=1", {}),
    ],
)
def test_what_may_have_to_be_asked_of_supabase_is_left_to_a_thread(
    service: Service, path: str, headers: dict[str, str]
) -> None:
    good = bearer(token())
    assert status(service, environ(good)) == 200

    assert not service.answers_at_once(environ({**good, **headers}, path))


def test_what_strangers_require_is_not_read(service: Service) -> None:
    """It takes a millisecond for 8 KiB, and what gateways require would be forgotten for it."""
    known = verify._of_header.cache_info(), verify._of_query.cache_info()

    for number in range(3):
        headers = {**bearer("x"), "X-Auth-Require": f"role=stranger-{number}"}
        assert not service.answers_at_once(environ(headers, f"{VERIFY}?role=stranger-{number}"))

    assert (verify._of_header.cache_info(), verify._of_query.cache_info()) == known


def test_strict_mode_is_left_to_a_thread(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    assert supabase
    service, good = make_client(AUTH_VERIFY_MODE="strict").application, bearer(token())
    assert isinstance(service, Service)
    assert status(service, environ(good)) == 200

    assert not service.answers_at_once(environ(good))


@pytest.mark.parametrize("headers", [{}, bearer("x"), bearer("a b"), {"Cookie": "__Host-velro_session=x"}])
def test_a_request_without_a_good_token_is_left_to_a_thread(service: Service, headers: dict[str, str]) -> None:
    assert not service.answers_at_once(environ(headers))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (VERIFY, "X-Original-URL"),
        (VERIFY, "X-Forwarded-Uri"),
        (f"{VERIFY}/{'a;' * 512}", ""),
    ],
)
def test_a_long_address_is_compared_with_the_rules_by_a_thread(
    make_client: MakeClient, supabase: responses.RequestsMock, tmp_path: Path, path: str, field: str
) -> None:
    """Many rules take 25 ms for an address of 8 KiB; in that time no probe would be answered."""
    assert supabase
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\npath = "/**"\nallow = "signed-in"\n')
    service = make_client(AUTH_RULES_FILE=str(rules), TRUSTED_PROXIES="127.0.0.1").application
    assert isinstance(service, Service)
    good, long = bearer(token()), {field: f"https://a/{'a;' * 512}"} if field else {}
    asked = {**good, "X-Original-URL": "https://a/", "X-Original-Method": "GET"}
    assert status(service, environ(asked, environ_overrides={"REMOTE_ADDR": "127.0.0.1"})) == 200
    assert service.answers_at_once(environ(asked))

    assert not service.answers_at_once(environ({**good, **long}, path))


def test_without_rules_an_address_of_any_length_is_answered_at_once(service: Service) -> None:
    good = bearer(token())
    assert status(service, environ(good)) == 200

    assert service.answers_at_once(environ({**good, "X-Original-URL": f"https://a/{'a' * 4096}"}))


def test_a_session_that_has_to_be_refreshed_is_left_to_a_thread(service: Service) -> None:
    value = token()
    assert status(service, environ(bearer(value))) == 200

    assert service.answers_at_once(environ(cookie(value, left_s=90)))
    assert not service.answers_at_once(environ(cookie(value, left_s=50)))


def test_an_ended_session_is_refused_at_once(service: Service, client: Client) -> None:
    good = bearer(token())
    assert status(service, environ(good)) == 200
    assert service.answers_at_once(environ(good))

    assert client.post("/api/v1/auth/logout?scope=local", headers=good).status_code == 200

    assert not service.answers_at_once(environ(good))
    assert status(service, environ(good)) == 401


def test_the_answer_is_made_of_what_was_found_and_waits_for_nothing(
    service: Service, supabase: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two the token may leave the cache, or the session come near its end."""
    value = token()
    assert status(service, environ(bearer(value))) == 200
    asked = [environ(bearer(value)), environ(cookie(value))]
    assert all(map(service.answers_at_once, asked))

    monkeypatch.setattr(cookie_sessions, "REFRESH_BEFORE_S", 9999)
    service._parts.state.sessions.introspected._verified.clear()
    calls = len(supabase.calls)

    assert [status(service, one) for one in asked] == [200, 200]
    assert len(supabase.calls) == calls
    assert not service._parts.state.sessions.introspected._verified


def test_what_is_known_of_one_token_says_nothing_of_another(service: Service) -> None:
    good = bearer(token())
    assert status(service, environ(good)) == 200
    asked = environ(good)
    assert service.answers_at_once(asked)

    asked["HTTP_AUTHORIZATION"] = "Bearer another"

    assert status(service, asked) == 401


# Flask has cycles of its own.
@pytest.mark.parametrize("lane", ["fast lane"], indirect=True)
@pytest.mark.parametrize("made", [bearer, cookie])
def test_a_request_is_freed_without_a_garbage_collection(
    service: Service, made: Callable[[str], dict[str, str]]
) -> None:
    """A request in a reference cycle stays in memory, and out of the processor's caches: 100 µs a request."""
    headers = {**made(token()), "Origin": PUBLIC}
    for _ in range(2):
        assert status(service, environ(headers)) == 200
    gc.collect()
    before = requests_in_memory()
    gc.disable()
    try:
        asked = environ(headers)
        asked["velro_auth.afterwards"] = []
        service.answers_at_once(asked)
        assert list(service(asked, lambda *_: bytes)) == [b""]
        while asked["velro_auth.afterwards"]:
            asked["velro_auth.afterwards"].pop()()
        del asked

        left = requests_in_memory()
    finally:
        gc.enable()

    assert left == before


@pytest.mark.parametrize("lane", ["fast lane"], indirect=True)
def test_a_login_is_freed_too(service: Service, supabase: responses.RequestsMock) -> None:
    """The context keeps how a session gets into the cookies of its request."""
    supabase.post(TOKEN, json=session(access_token=token()))
    gc.collect()
    before = requests_in_memory()
    gc.disable()
    try:
        asked = environ({"Origin": PUBLIC}, "/api/v1/auth/login", method="POST", json=GOOD_LOGIN)
        list(service(asked, lambda *_: bytes))
        del asked

        left = requests_in_memory()
    finally:
        gc.enable()

    assert left == before
