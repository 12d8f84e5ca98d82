"""The client is a copy of the gateway's rules, and its answers are the gateway's."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType

import pytest
import velro_auth_client
from velro_auth_client.problems import problem_of

from velro_auth import errors
from velro_auth.auth.keys import CannotVerify
from velro_auth.context import CONTEXT, RequestContext
from velro_auth.web import problems

ROOT = Path(__file__).resolve().parents[3]


def copier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("copy_core", ROOT / "clients" / "python" / "copy_core.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_copied_rules_are_those_of_the_gateway() -> None:
    wanted = dict(copier().copies())

    found = {path: path.read_text("utf-8") for path in copier().CORE.rglob("*.py")}

    assert found == wanted, "run: make client-core"
    assert len(wanted) > 8


@pytest.mark.parametrize(
    ("own", "gateway"),
    [
        (velro_auth_client.TokenMissing, errors.TokenMissing),
        (velro_auth_client.TokenInvalid, errors.TokenInvalid),
        (velro_auth_client.TokenExpired, errors.TokenExpired),
        (velro_auth_client.Forbidden, errors.Forbidden),
        (velro_auth_client.InsufficientAal, errors.InsufficientAal),
        (velro_auth_client.CannotVerify, CannotVerify),
    ],
)
def test_an_answer_is_the_gateway_s(
    own: type[velro_auth_client.VelroAuthError], gateway: type[errors.VelroAuthError]
) -> None:
    environ: dict[str, object] = {}
    environ[CONTEXT] = RequestContext(request_id="abc", address="", arrived_s=time.monotonic())

    theirs = problems.respond(gateway("why"), environ)
    ours = problem_of(own("why"), "abc")

    assert (ours.status, json.loads(ours.body)) == (theirs.status_code, theirs.json)
    assert dict(ours.headers) == {name: value for name, value in theirs.headers.items() if name != "Content-Length"}


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "a\r\nb"])
def test_a_request_id_that_the_gateway_would_not_accept_is_replaced(sent: str | None) -> None:
    body = json.loads(problem_of(velro_auth_client.TokenMissing(), sent).body)

    assert len(body["request_id"]) == 32
