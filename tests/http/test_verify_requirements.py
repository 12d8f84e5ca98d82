"""The requirements of a gateway: in the query of the exact path, or in a header; through both lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import LogLines, MakeClient
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.upstream_double import PROJECT, session

VERIFY = "/api/v1/auth/verify"
KEY = SigningKey("key-1")
STRANGER = "203.0.113.9"

Ask = Callable[..., TestResponse]


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        yield mock


@pytest.fixture
def ask(client: Client, supabase: responses.RequestsMock) -> Ask:
    """Return a function that asks about the token of an editor at aal1, as a proxy on this machine."""

    def asked(path: str, require: str | None = None, *, peer: str = "127.0.0.1", **claims: Any) -> TestResponse:
        given = {"iss": f"{PROJECT}/auth/v1", "user_role": "editor", "aal": "aal1", **claims}
        headers = {"Authorization": f"Bearer {KEY.token(claims_at(time.time(), **given))}"}
        if require is not None:
            headers["X-Auth-Require"] = require
        return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer})

    return asked


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("role=editor", 200),
        ("role=admin,editor", 200),
        ("role=admin,+editor", 200),
        ("role=admin", 403),
        ("role=Editor", 403),
        ("aal=aal1", 200),
        ("aal=aal2", 403),
        ("aal=aal3", 403),
        ("role=editor&aal=aal2", 403),
        ("strict=1&role=editor", 200),
        ("strict=true&role=admin", 403),
    ],
)
def test_requirements_are_all_met_or_it_is_403(
    ask: Ask, supabase: responses.RequestsMock, query: str, status: int
) -> None:
    supabase.get(f"{PROJECT}/auth/v1/user", json=session()["user"])

    assert ask(f"{VERIFY}?{query}").status_code == status


#: What nearly says something: were it ignored, everybody would get in.
SLIPS = [
    "roles=admin",
    "Role=admin",
    "ROLE=admin",
    "role =admin",
    "role%00=admin",
    "role[]=admin",
    "x_role=admin",
    "aal=",
    "role=",
    "role",
    "role=,",
    "role=admin,",
    "role=%20",
    "role=admin;aal=aal2",
    "role=admin?aal=aal2",
    "role=admin%26aal=aal2",
    "role=%ff",
    "role=ä",
    "role=a%0Ab",
    "AAL=aal2",
    "aal=2",
    "aal=AAL2",
    "aal=aal2,aal1",
    "aal=nonsense",
    "strict=yes",
    "strict=",
    "strict",
    "strict=0",
    "strict=1&strict=1",
    "role=admin&role=editor",
    "role=editor&aal=aal1&debug=1",
    "role=editor&",
    "&role=editor",
    "=",
    "access_token=abc",
]


@pytest.mark.parametrize("query", SLIPS)
def test_an_unknown_requirement_is_400(ask: Ask, query: str) -> None:
    """With or without a good token: the slip shows at the first request."""
    for claims in ({}, {"exp": 1}):
        body = assert_problem(ask(f"{VERIFY}?{query}", **claims), 400, "bad_parameter")

    assert query not in body["detail"]


@pytest.mark.parametrize("below", ["/", "/a/b", "//", "/admin"])
@pytest.mark.parametrize("query", ["role=admin", "aal=aal3", "strict=1", "roles=x", "q=" + "a" * 4200])
def test_below_the_path_the_query_is_the_client_s(
    ask: Ask, supabase: responses.RequestsMock, below: str, query: str
) -> None:
    """Envoy appends both to the address it asks."""
    assert ask(f"{VERIFY}{below}?{query}").status_code == 200
    assert [call.request.url for call in supabase.calls] == [f"{PROJECT}/auth/v1/.well-known/jwks.json"]


@pytest.mark.parametrize("path", [VERIFY, f"{VERIFY}/a?role=x", f"{VERIFY}?role=editor"])
@pytest.mark.parametrize(
    ("require", "status"),
    [
        ("role=editor", 200),
        ("role=admin, editor; aal=aal1", 200),
        ("role=admin", 403),
        ("aal=aal2", 403),
        (" role = editor ;aal=aal2 ", 403),
        ("strict=1", 401),
        ("", 200),
        ("  ", 200),
    ],
)
def test_a_gateway_may_send_requirements_in_a_header(
    ask: Ask, supabase: responses.RequestsMock, path: str, require: str, status: int
) -> None:
    supabase.get(f"{PROJECT}/auth/v1/user", json={"code": "user_banned"}, status=403)

    assert ask(path, require).status_code == status


@pytest.mark.parametrize("path", [VERIFY, f"{VERIFY}/a"])
@pytest.mark.parametrize(
    "require",
    [
        "roles=admin",
        "Role=admin",
        "admin",
        "role",
        "role=",
        "aal=aal9",
        "aal=aal2;",
        ";",
        "role=editor, role=admin",
        "role=editor; role=admin",
        "role=editor,role=admin",
        "role=editor&aal=aal2",
        'role="editor"',
        "role=\xff",
        "strict=no",
    ],
)
def test_a_field_that_cannot_be_understood_is_400(ask: Ask, path: str, require: str) -> None:
    assert_problem(ask(path, require), 400, "bad_parameter")


def test_the_requirements_of_query_and_header_add_up(ask: Ask) -> None:
    """Neither may talk away the other."""
    assert ask(f"{VERIFY}?role=editor", "aal=aal1").status_code == 200
    assert_problem(ask(f"{VERIFY}?role=admin", "role=editor"), 403, "forbidden")
    assert_problem(ask(f"{VERIFY}?role=editor", "role=admin"), 403, "forbidden")
    assert_problem(ask(f"{VERIFY}?role=editor", "aal=aal2"), 403, "insufficient_aal")


@pytest.mark.parametrize("require", ["role=admin", "roles=admin"])
def test_a_field_of_a_stranger_is_ignored_and_the_log_says_so(ask: Ask, logs: LogLines, require: str) -> None:
    assert ask(f"{VERIFY}/a", require, peer=STRANGER).status_code == 200

    assert "TRUSTED_PROXIES" in logs.access[-1]["ignored"]
    assert ask(f"{VERIFY}?role=admin", require, peer=STRANGER).status_code == 403


def test_who_is_trusted_is_a_setting(make_client: MakeClient, supabase: responses.RequestsMock) -> None:
    client = make_client(TRUSTED_PROXIES=f"{STRANGER}/32")

    def status(peer: str) -> int:
        given = {"X-Auth-Require": "nonsense"}
        return client.get(f"{VERIFY}/a", headers=given, environ_overrides={"REMOTE_ADDR": peer}).status_code

    assert (status(STRANGER), status("127.0.0.1")) == (400, 401)


def test_a_role_in_other_letters_can_be_required(ask: Ask) -> None:
    written = "schüler".encode().decode("latin-1")

    assert ask(f"{VERIFY}/a", f"role={written}", user_role="schüler").status_code == 200
    assert ask(f"{VERIFY}?role=sch%C3%BCler", user_role="schüler").status_code == 200
    assert ask(f"{VERIFY}?role=sch%C3%BCler").status_code == 403
