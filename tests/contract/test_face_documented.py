"""The code of the how-to page runs, as it stands there: one address, two addresses, on a server, in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from supabase_standin import Standin
from tests.contract.face_lab import ADAPTER, PAGE, blocks_of, face_of
from tests.contract.test_face_types import NEEDS_TYPESCRIPT
from tests.contract.test_standin_client_calls import JS, TIMEOUT_S
from tests.fixtures.standin import PASSWORD, new_email

ONE, TWO, SERVER = range(3)

#: What the tests do with what the page's code has made.
ON = {
    ONE: "if (error) throw error\nconsole.log(JSON.stringify({ email: data.user.email }))",
    TWO: """
const { error } = await supabase.auth.signInWithPassword({ email: EMAIL, password: PASSWORD })
if (error) throw error
const rows = await supabase.from("users").select("id,email")
const user = await supabase.auth.getUser()
console.log(JSON.stringify({ rows: rows.data.length, same: rows.data[0]?.id === user.data.user.id }))
""",
    SERVER: """
const request = (cookies) => new Request("https://app.example.com/", { headers: { Cookie: cookies } })
const kept = (answer) => answer.getSetCookie().map((cookie) => cookie.split(";")[0]).join("; ")
const first = new Headers(), second = new Headers(), third = new Headers()
const { error } = await serverClient(request(""), first).auth.signInWithPassword({ email: EMAIL, password: PASSWORD })
if (error) throw error
const later = serverClient(request(kept(first)), second)
const user = await later.auth.getUser()
const rows = await later.from("users").select("id")
await later.auth.refreshSession()
const again = await serverClient(request(kept(second)), third).auth.getUser()
console.log(JSON.stringify({
  email: user.data.user.email,
  again: again.data.user.email,
  rows: rows.data.length,
  changed: kept(first) !== kept(second),
  stored: first.get("Cache-Control").includes("no-store"),
}))
""",
}


@pytest.fixture
def user(migrated: Standin) -> str:
    email = new_email()
    migrated.create_user(email, PASSWORD)
    migrated.requests.clear()
    return email


def run(folder: Path, which: int, project: Standin, gateway: str, email: str) -> Any:
    """Run a block of the page in node, and return what it printed."""
    shutil.copy(ADAPTER, folder)
    (folder / "node_modules").symlink_to(JS / "node_modules")
    (folder / "page.ts").write_text(blocks_of("ts")[which] + ON[which], "utf-8")
    names = (project.url, gateway, project.publishable_key, email, PASSWORD)
    command = ["node", "run_page.mjs", str(folder / "page.ts"), *names]
    done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_each_went_to_its_place(project: Standin) -> None:
    """The gateway sends its own key, and data are asked for by the app itself."""
    keys = {one.path: one.headers.get("apikey") for one in project.requests}
    assert keys["/auth/v1/token"] == keys["/auth/v1/user"] == project.secret_key
    assert keys["/rest/v1/users"] == project.publishable_key


@NEEDS_TYPESCRIPT
def test_one_address(migrated: Standin, user: str, tmp_path: Path) -> None:
    with face_of(migrated) as url:
        assert run(tmp_path, ONE, migrated, url, user) == {"email": user}


@NEEDS_TYPESCRIPT
def test_two_addresses(migrated: Standin, user: str, tmp_path: Path) -> None:
    with face_of(migrated) as url:
        assert run(tmp_path, TWO, migrated, url, user) == {"rows": 1, "same": True}

    assert_each_went_to_its_place(migrated)


@NEEDS_TYPESCRIPT
def test_the_client_of_a_server_that_keeps_the_session_in_cookies(migrated: Standin, user: str, tmp_path: Path) -> None:
    with face_of(migrated) as url:
        found = run(tmp_path, SERVER, migrated, url, user)

    assert found == {"email": user, "again": user, "rows": 1, "changed": True, "stored": True}
    assert_each_went_to_its_place(migrated)


@pytest.mark.filterwarnings(
    "ignore:The '(timeout|verify)' parameter is deprecated"
)  # of one part of the client, for another
def test_python_with_one_address_and_with_two(migrated: Standin, user: str) -> None:
    one, two = blocks_of("python")
    with face_of(migrated) as url:
        names: dict[str, Any] = {
            "PROJECT": migrated.url,
            "GATEWAY": url,
            "KEY": migrated.publishable_key,
            "EMAIL": user,
            "PASSWORD": PASSWORD,
        }
        exec(one, names)  # noqa: S102 - the page's own code
        exec(two, names)  # noqa: S102
        names["auth"].close()
        names["supabase"].postgrest.session.close()

    assert names["session"].user.email == user
    assert names["rows"] == [{"id": names["session"].user.id}]


@NEEDS_TYPESCRIPT
def test_the_typescript_client_and_supabase_js_side_by_side(
    migrated: Standin, user: str, typescript_client: Path
) -> None:
    assert "accessToken: () => auth.accessToken()" in (PAGE.parent / "use-from-typescript.md").read_text("utf-8")
    with face_of(migrated) as url:
        arguments = [str(typescript_client), migrated.url, url, migrated.publishable_key, user, PASSWORD]
        command = ["node", "read_data.mjs", *arguments]
        done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": 0, "same": True}
