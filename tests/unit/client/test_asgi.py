from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from velro_auth_client import CannotVerify, User
from velro_auth_client.asgi import AsgiGuard, Message, Receive, Scope, Send

from tests.fixtures.tokens import HandClock
from tests.unit.client.project import URL, Project, bearer


class Backend:
    """An application that answers 200, and what it was called with."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    @property
    def user(self) -> User:
        user = self.scopes[-1]["state"]["user"]
        assert isinstance(user, User)
        return user


@pytest.fixture
def guard(project: Project, clock: HandClock) -> Iterator[AsgiGuard]:
    guard = AsgiGuard(URL, fetch=project, clock=clock, now=clock)
    yield guard
    guard.close()


def scope_of(
    *headers: tuple[str, str], method: str = "GET", path: str = "/me", kind: str = "http", **others: Any
) -> Scope:
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope: Scope = {"type": kind, "path": path, "headers": encoded, **others}
    return scope if kind == "websocket" else {**scope, "method": method}


def call(app: Any, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    asyncio.run(app(scope, receive, send))
    return sent


def header_of(sent: list[Message], name: bytes) -> bytes | None:
    return dict(sent[0]["headers"]).get(name)


def test_an_application_gets_its_user(guard: AsgiGuard) -> None:
    backend = Backend()

    sent = call(guard.protect(backend), scope_of(*bearer(user_role="admin").items(), state={"other": 1}))

    assert sent[0]["status"] == 200
    assert (backend.user.email, backend.user.role) == ("ada@example.com", "admin")
    assert backend.scopes[-1]["state"]["other"] == 1


def test_a_request_without_a_token_is_answered_as_the_gateway_does(guard: AsgiGuard) -> None:
    backend = Backend()

    sent = call(guard.protect(backend), scope_of(("X-Request-ID", "abc")))

    body = json.loads(sent[1]["body"])
    assert (sent[0]["status"], body["code"], body["request_id"]) == (401, "token_missing", "abc")
    assert header_of(sent, b"www-authenticate") == b'Bearer realm="velro-auth"'
    assert header_of(sent, b"content-length") == str(len(sent[1]["body"])).encode()
    assert backend.scopes == []


def test_two_authorization_headers_are_refused(guard: AsgiGuard) -> None:
    token = bearer()["Authorization"]

    sent = call(guard.protect(Backend()), scope_of(("Authorization", token), ("Authorization", token)))

    assert sent[0]["status"] == 401
    assert json.loads(sent[1]["body"])["code"] == "token_invalid"


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"user_role": "admin", "aal": "aal2"}, 200),
        ({"user_role": "viewer", "aal": "aal2"}, 403),
        ({"user_role": "admin", "aal": "aal1"}, 403),
    ],
)
def test_an_application_may_require_a_role_and_a_level(guard: AsgiGuard, claims: dict[str, str], status: int) -> None:
    app = guard.protect(Backend(), role=["admin", "editor"], aal="aal2")

    assert call(app, scope_of(*bearer(**claims).items()))[0]["status"] == status


def test_an_unknown_level_is_refused_when_the_application_is_built(guard: AsgiGuard) -> None:
    with pytest.raises(ValueError, match="aal5"):
        guard.protect(Backend(), aal="aal5")


@pytest.mark.parametrize(
    "scope", [scope_of(path="/health"), scope_of(method="OPTIONS"), {"type": "lifespan", "state": {}}]
)
def test_public_paths_preflights_and_the_lifespan_need_no_token(guard: AsgiGuard, scope: Scope) -> None:
    backend = Backend()

    call(guard.protect(backend, public_paths=["/health"]), scope)

    assert len(backend.scopes) == 1


def test_a_path_below_a_public_one_is_not_public(guard: AsgiGuard) -> None:
    assert call(guard.protect(Backend(), public_paths=["/health"]), scope_of(path="/health/x"))[0]["status"] == 401


def test_a_websocket_is_closed_before_it_is_accepted(guard: AsgiGuard) -> None:
    backend = Backend()
    app = guard.protect(backend)

    assert call(app, scope_of(kind="websocket")) == [{"type": "websocket.close", "code": 1008}]
    assert call(app, scope_of(*bearer().items(), kind="websocket")) == []
    assert backend.user.email == "ada@example.com"


def test_a_head_request_gets_no_body(guard: AsgiGuard) -> None:
    sent = call(guard.protect(Backend()), scope_of(method="HEAD"))

    assert (sent[0]["status"], sent[1]["body"]) == (401, b"")


def test_without_keys_the_answer_says_try_again(guard: AsgiGuard, project: Project) -> None:
    project.is_down = True

    sent = call(guard.protect(Backend()), scope_of(*bearer().items()))

    assert (sent[0]["status"], header_of(sent, b"retry-after")) == (503, b"5")
    with pytest.raises(CannotVerify):
        asyncio.run(guard.verify(bearer()["Authorization"]))


def test_the_event_loop_runs_on_while_keys_are_fetched(project: Project, clock: HandClock) -> None:
    """A token with an unknown key waits for a fetch: only its own request may wait."""
    release = threading.Event()

    def fetch() -> bytes:
        assert release.wait(10)
        return project()

    guard = AsgiGuard(URL, fetch=fetch, clock=clock, now=clock)

    async def both() -> str:
        verifying = asyncio.create_task(guard.verify(bearer()["Authorization"]))
        await asyncio.sleep(0)
        # The loop is free to do this while the other one waits.
        release.set()
        return (await verifying).email or ""

    assert asyncio.run(both()) == "ada@example.com"
    guard.close()
