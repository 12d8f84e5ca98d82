"""The ways that the how-to page shows work: one address, and two."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from supabase_standin import Standin
from tests.contract.face_lab import face_of
from tests.contract.test_standin_client_calls import JS, NEEDS_NODE, TIMEOUT_S
from tests.fixtures.standin import PASSWORD, new_email

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-supabase-clients.md"


def _block(language: str) -> str:
    """Return the code of a language on the page."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return str(code)


def test_the_python_client_with_one_address(standin: Standin) -> None:
    email = new_email()
    standin.create_user(email, PASSWORD)
    with face_of(standin) as url:
        names: dict[str, Any] = {
            "GATEWAY": url,
            "KEY": standin.publishable_key,
            "EMAIL": email,
            "PASSWORD": PASSWORD,
        }
        exec(_block("python"), names)  # noqa: S102 - the page's own code
        names["auth"].close()

    assert names["session"].user.email == email


@NEEDS_NODE
def test_the_javascript_client_with_two_addresses(migrated: Standin, typescript_client: Path) -> None:
    email = new_email()
    migrated.create_user(email, PASSWORD)
    assert "authByGateway(PROJECT, GATEWAY)" in _block("js")
    with face_of(migrated) as url:
        migrated.requests.clear()
        arguments = [str(typescript_client), migrated.url, url, migrated.publishable_key, email, PASSWORD]
        command = ["node", "two_addresses.mjs", *arguments]
        done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"rows": 1, "same": True}
    keys = {one.path: one.headers.get("apikey") for one in migrated.requests}
    assert keys["/auth/v1/token"] == keys["/auth/v1/user"] == migrated.secret_key
    assert keys["/rest/v1/users"] == migrated.publishable_key


@NEEDS_NODE
def test_the_typescript_client_and_supabase_js_side_by_side(migrated: Standin, typescript_client: Path) -> None:
    email = new_email()
    migrated.create_user(email, PASSWORD)
    assert "accessToken: () => auth.accessToken()" in (PAGE.parent / "use-from-typescript.md").read_text("utf-8")
    with face_of(migrated) as url:
        arguments = [str(typescript_client), migrated.url, url, migrated.publishable_key, email, PASSWORD]
        command = ["node", "read_data.mjs", *arguments]
        done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": 0, "same": True}
