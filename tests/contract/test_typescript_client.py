"""The TypeScript client in node: its own tests, and the life of a user at a gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from supabase_standin import Standin
from tests.contract.face_lab import face_of
from tests.contract.typescript_lab import LIFE, PAGE, mailing_project
from tests.fixtures.standin import PASSWORD, new_email
from tests.fixtures.typescript import node


def test_its_own_tests_pass(typescript_client: Path) -> None:
    node(typescript_client, "--test", *sorted(map(str, (typescript_client / "test").glob("*.test.mjs"))))


@pytest.fixture(scope="module")
def project(new_standin: Callable[..., Standin]) -> Standin:
    return mailing_project(new_standin)


def test_a_user_lives_in_token_mode(typescript_client: Path, project: Standin) -> None:
    mailbox = f"{project.url}/mailbox.json"
    with face_of(project) as url:
        told = json.loads(node(typescript_client, "test/live.mjs", url, mailbox, new_email(), new_email(), PAGE))

    assert told["steps"] == [*LIFE, ["nothing is left", "signed_out"]]
    assert told["events"].count("signed-out") == 5
    assert told["events"][0] == "signed-in"


LOG_IN = """
import {{ createAuth }} from "./dist/index.js";
const auth = createAuth({{ url: {url}, mode: "token", solveChallenges: {solves} }});
const login = auth.login({{ email: {email}, password: {password} }});
console.log(await login.then((session) => session.user.email, (error) => error.code));
"""


@pytest.mark.parametrize("solves", [True, False])
def test_whom_others_hold_back_solves_a_challenge(typescript_client: Path, standin: Standin, solves: bool) -> None:
    email = new_email()
    standin.create_user(email, PASSWORD)
    with face_of(standin, AUTH_THROTTLE_SCALE="0.02") as url:
        for number in range(12):
            body = {"email": f"{number}@example.com", "password": "wrong"}
            headers = {"X-Real-IP": f"10.0.{number}.1"}
            requests.post(f"{url}/api/v1/auth/login", json=body, headers=headers, timeout=20)
        values = {"url": url, "email": email, "password": PASSWORD, "solves": solves}
        code = LOG_IN.format(**{name: json.dumps(value) for name, value in values.items()})
        told = node(typescript_client, "--input-type=module", "--eval", code)

    assert told.strip() == (email if solves else "challenge_required")
