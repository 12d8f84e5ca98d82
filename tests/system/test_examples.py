"""Every example runs as its page says, and knows the users of a real gateway."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, await_health, clean_environment, free_port, gateway, program
from tests.fixtures.standin import PASSWORD, new_email
from tests.waiting import PATIENCE_S, eventually
from velro_auth.ops.database import Runner

#: Example → how its page starts it.
COMMANDS = {
    re.split(r"[\s/]+", cell)[0]: cell
    for cell in re.findall(
        r"^\| \[[^|]+\| `((?:flask|uvicorn|python) [^`]+)`",
        (ROOT / "examples/README.md").read_text("utf-8"),
        re.MULTILINE,
    )
}


@pytest.fixture(scope="module")
def project(new_standin: Callable[..., Standin]) -> Standin:
    standin = new_standin()
    Runner(standin.database_dsn).up()
    return standin


@pytest.fixture(scope="module")
def pages_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def running(project: Standin, pages_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A gateway that the example page may call."""
    environment = {
        "SUPABASE_URL": project.url,
        "SUPABASE_SECRET_KEY": project.secret_key,
        "CORS_ORIGINS": f"http://localhost:{pages_port}",
        "AUTH_FAILURE_FLOOR_MS": "0",
    }
    with gateway(tmp_path_factory.mktemp("gateway") / "log", **environment) as program:
        yield program


@pytest.fixture
def email(project: Standin) -> str:
    email = new_email()
    project.create_user(email, PASSWORD)
    return email


@contextlib.contextmanager
def backend(name: str, project: Standin, log: Path) -> Iterator[str]:
    """Run a backend with the command of the page, on a free port."""
    port = free_port()
    first, *rest = shlex.split(re.sub(r"\b500\d\b", str(port), COMMANDS[name]))
    command = rest if first == "python" else ["-m", first, *rest]
    with program(command, log, SUPABASE_URL=project.url) as running:
        running.url = f"http://127.0.0.1:{port}"
        await_health(running)
        yield running.url


@pytest.mark.parametrize("name", ["flask", "uvicorn", "python"])
def test_a_backend_knows_its_users(name: str, project: Standin, running: Program, email: str, tmp_path: Path) -> None:
    login = requests.post(
        f"{running.url}/api/v1/auth/login", json={"email": email, "password": PASSWORD}, timeout=20
    ).json()
    good = {"Authorization": f"Bearer {login['access_token']}"}
    with backend(name, project, tmp_path / "backend.log") as url:

        def ask(path: str, headers: dict[str, str]) -> requests.Response:
            return requests.get(f"{url}{path}", headers=headers, timeout=20)

        assert ask("/me", good).json() == {"id": login["user"]["id"], "email": email, "role": "viewer"}
        assert (ask("/me", {}).status_code, ask("/me", {}).json()["code"]) == (401, "token_missing")
        assert ask("/me", {"Authorization": f"{good['Authorization']}x"}).json()["code"] == "token_invalid"
        assert ask("/reports", good).status_code == 403


@contextlib.contextmanager
def pages(package: Path, port: int, log: Path, **environment: str) -> Iterator[str]:
    """Run the example page's server, which is a program of node."""
    settings = {"PORT": str(port), "CLIENT": str(package / "dist"), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["node", "examples/spa/serve.mjs"],
            cwd=ROOT,
            env=clean_environment(**settings),
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: "The page is at" in log.read_text() or process.poll() is not None, or_say=log.read_text)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_the_page_logs_in_and_asks_its_backend(
    typescript_client: Path,
    project: Standin,
    running: Program,
    pages_port: int,
    email: str,
    tmp_path: Path,
    page: Page,
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    with (
        backend("flask", project, tmp_path / "backend.log") as url,
        pages(typescript_client, pages_port, tmp_path / "pages.log", GATEWAY=running.url, BACKEND=url) as address,
    ):
        page.goto(address)
        expect(page.get_by_role("status")).to_have_text("You are not logged in.")
        page.get_by_label("Mail address").fill(email)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("status")).to_have_text("Authentication failed")

        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("status")).to_have_text(f"You are {email}.")
        expect(page.get_by_role("listitem")).to_contain_text("this one")

        page.get_by_role("button", name="Ask the backend").click()
        expect(page.get_by_role("status")).to_have_text(f"The backend knows you as {email}.")
        page.reload()
        expect(page.get_by_role("status")).to_have_text(f"You are {email}.")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("status")).to_have_text("You are not logged in.")
    assert errors == []
