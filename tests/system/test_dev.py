"""``velro-auth dev``: the whole product on one machine, as ``make run`` starts it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from tests.fixtures.programs import ROOT, Program, clean_environment, free_port, program
from tests.fixtures.standin import fast_place, temporary_folder
from velro_auth.auth.pkce import challenge_of, new_verifier

DEMO = {"email": "demo@example.com", "password": "correct-horse-battery-staple"}


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A place that the account PostgreSQL runs as can reach."""
    with temporary_folder(fast_place()) as folder:
        yield folder / "data"


def dev(data_dir: Path, port: int) -> list[str]:
    return ["-m", "velro_auth", "dev", "--port", str(port), "--data-dir", str(data_dir)]


def log_in(port: int, email: str, password: str = DEMO["password"]) -> requests.Response:
    url = f"http://127.0.0.1:{port}/api/v1/auth/login"
    return requests.post(url, json={"email": email, "password": password}, timeout=10)


def test_the_main_job_runs_and_ends_without_a_trace(data_dir: Path, tmp_path: Path) -> None:
    # The second start finds the database made.
    for attempt in ("first", "second"):
        port = free_port()
        with program(dev(data_dir, port), tmp_path / f"{attempt}.log") as running:
            running.wait_for("Stop with Ctrl-C.")
            family = _family(running.process.pid)
            good = log_in(port, DEMO["email"])
            refused = {
                log_in(port, email, password).json()["code"]
                for email, password in (
                    (DEMO["email"], "wrong"),
                    ("banned@example.com", DEMO["password"]),
                    ("nobody@example.com", "wrong"),
                )
            }
            status = running.stop(signal.SIGINT)

        assert good.status_code == 200, running.output
        assert good.json()["access_token"]
        assert good.json()["user"]["role"] == "viewer"
        assert refused == {"invalid_credentials"}
        assert status == 0
        assert f"curl -i http://localhost:{port}/api/v1/auth/login" in running.output
        # The page with everything else comes first.
        assert re.search(rf"Ready after [\d.]+ s\.\n\n  Open +http://localhost:{port}/ ", running.output)
        assert len(family) > 3
        _assert_gone(family)
        assert not [path for path in data_dir.rglob("*") if path.is_socket() or path.name.endswith(("lock", ".pid"))]


def test_the_flag_fills_in_the_profile(data_dir: Path, tmp_path: Path) -> None:
    """And a file for a real project is left alone: it would win over the local one."""
    (file := tmp_path / "real.env").write_text("SUPABASE_URL=https://abcdefgh.supabase.co\nAUTH_FAST_LOGIN=1\n")
    environment = {"AUTH_FAST_LOGIN": "0", "AUTH_ENV_FILE": str(file)}
    with program(dev(data_dir, port := free_port()), tmp_path / "log", **environment) as running:
        running.wait_for("AUTH_ENV_FILE is ignored here")
        running.wait_for("Stop with Ctrl-C.")
        response = log_in(port, DEMO["email"])

        assert "X-Fastlane-Time-Ms" not in response.headers
        user = response.json()["user"]
        assert (user["role"], user["display_name"], user["credits_balance"]) == ("viewer", "Demo", 0)


def test_the_next_steps_of_a_newcomer_work(data_dir: Path, tmp_path: Path) -> None:
    """The banner names them: the documents, the keys, a user of one's own, a frontend on any port of this machine."""
    with program(dev(data_dir, port := free_port()), tmp_path / "log") as running:
        running.wait_for("Stop with Ctrl-C.")
        gateway = f"http://localhost:{port}"
        environment = _run([*dev(data_dir, port), "env"])
        added = _run([*dev(data_dir, port), "add-user", email := f"ada{port}@example.com"])
        again = _run([*dev(data_dir, port), "add-user", email])
        logged_in = log_in(port, email, added.stdout.split()[-1])
        page = requests.get(f"{gateway}/docs", timeout=10)
        sign_in = requests.get(f"{gateway}/login", timeout=10)
        frontend = {"Origin": "http://localhost:9123", "Sec-Fetch-Site": "same-site"}
        from_frontend, from_page = (
            requests.post(
                f"{gateway}/api/v1/auth/login",
                json=DEMO,
                headers=headers,
                timeout=30,
            )
            for headers in (frontend, {"Origin": gateway, "Sec-Fetch-Site": "same-origin"})
        )
        preflight = requests.options(
            f"{gateway}/api/v1/auth/login",
            headers={**frontend, "Access-Control-Request-Method": "POST"},
            timeout=10,
        )

        assert logged_in.status_code == 200, added.stdout + added.stderr
        assert (again.returncode, again.stderr) == (1, f"Error: {email} has an account already.\n")
        assert page.ok
        assert "Continue with Demo" in sign_in.text
        assert f"{gateway}/login" in running.output
        assert preflight.headers["Access-Control-Allow-Origin"] == frontend["Origin"]
        assert "access_token" in from_frontend.json()
        assert "Set-Cookie" not in from_frontend.headers
        assert "access_token" not in from_page.json()
        assert from_page.headers["Set-Cookie"].startswith("velro_session=")
        command = f" dev --data-dir {shlex.quote(str(data_dir))}"
        for step in (f"{gateway}/docs", f"{command} env)", f"{command} add-user "):
            assert step in running.output
        variables = dict(shlex.split(line)[1].split("=", 1) for line in environment.stdout.splitlines())
        assert variables["AUTH_URL"] == gateway
        settings = requests.get(
            variables["SUPABASE_URL"] + "/auth/v1/settings",
            headers={"apikey": variables["SUPABASE_PUBLISHABLE_KEY"]},
            timeout=10,
        )
        assert settings.ok
        with psycopg.connect(variables["DATABASE_URL"]) as connection:
            assert connection.execute("select count(*) from public.users where email = %s", [email]).fetchone() == (1,)

    after = _run([*dev(data_dir, port), "env"])

    assert after.returncode == 1
    assert "No local Supabase runs" in after.stderr


def test_a_new_account_can_wait_for_a_mail(data_dir: Path, tmp_path: Path) -> None:
    """Its link leads to the gateway and spends nothing; the banner names the mailbox."""
    with program(dev(data_dir, port := free_port()), tmp_path / "log", AUTH_DEV_CONFIRM="mail") as running:
        running.wait_for("Stop with Ctrl-C.")
        environment = _run([*dev(data_dir, port), "env"])
        variables = dict(shlex.split(line)[1].split("=", 1) for line in environment.stdout.splitlines())
        signed_up = requests.post(
            variables["SUPABASE_URL"] + "/auth/v1/signup",
            json={"email": (email := f"grace{port}@example.com"), "password": "correct horse"},
            headers={"apikey": variables["SUPABASE_PUBLISHABLE_KEY"]},
            timeout=10,
        )
        (mail,) = requests.get(variables["MAILBOX_URL"] + ".json", params={"to": email}, timeout=10).json()

        assert "access_token" not in signed_up.json()
        assert mail["link"] == f"http://localhost:{port}/confirm?token_hash={mail['token_hash']}&type=signup"
        assert variables["MAILBOX_URL"] in running.output


def test_a_user_signs_in_with_the_demo_provider(data_dir: Path, tmp_path: Path) -> None:
    """Without any setting: the provider is on, and pages of this machine may be led to."""
    with program(dev(data_dir, port := free_port()), tmp_path / "log") as running:
        running.wait_for("Stop with Ctrl-C.")
        browser, verifier = requests.Session(), new_verifier()
        gateway, page = f"http://localhost:{port}/api/v1/auth", "http://localhost:5173/welcome"
        query = {"redirect_to": page, "code_challenge": challenge_of(verifier)}

        begun = browser.get(f"{gateway}/authorize/demo", params=query, allow_redirects=False, timeout=10)
        provider = requests.get(begun.headers["Location"], allow_redirects=False, timeout=10).headers["Location"]
        said = requests.get(provider, {"login_hint": DEMO["email"]}, allow_redirects=False, timeout=10)
        back = requests.get(said.headers["Location"], allow_redirects=False, timeout=10).headers["Location"]
        done = browser.get(back, allow_redirects=False, timeout=10).headers["Location"]
        body = {"code": done.removeprefix(f"{page}?code="), "code_verifier": verifier}
        session = browser.post(f"{gateway}/exchange", json=body, timeout=10)

        assert session.status_code == 200, (back, done, session.text)
        assert session.json()["user"]["email"] == DEMO["email"]
        assert verifier not in running.output
        assert body["code"] not in running.output


def test_lines_in_a_pipe_are_json_and_can_be_made_text(data_dir: Path, tmp_path: Path) -> None:
    with program(dev(data_dir, port := free_port()), tmp_path / "log", LOG_FORMAT="text") as running:
        running.wait_for("Stop with Ctrl-C.")
        log_in(port, DEMO["email"], "wrong")
        running.wait_for("POST /api/v1/auth/login 401")

        assert '{"' not in running.output.partition("Stop with Ctrl-C.")[2]


def test_two_requests_to_end_while_it_starts_end_everything(data_dir: Path, tmp_path: Path) -> None:
    with program(dev(data_dir, free_port()), tmp_path / "log") as running:
        running.wait_for("Starting the gateway")
        family = _family(running.process.pid)
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)

        _assert_gone(family)


def test_killing_it_takes_everything_along(data_dir: Path, tmp_path: Path) -> None:
    with program(dev(data_dir, port := free_port()), tmp_path / "log") as running:
        running.wait_for("Stop with Ctrl-C.")
        family = _family(running.process.pid)
        running.process.kill()
        running.process.wait()

        _assert_gone(family)

    with program(dev(data_dir, port), tmp_path / "again") as running:
        running.wait_for("Stop with Ctrl-C.")


@pytest.mark.parametrize("variable", ["RAILWAY_ENVIRONMENT_NAME"])
def test_it_refuses_to_run_where_it_would_be_public(data_dir: Path, variable: str) -> None:
    done = _run(dev(data_dir, free_port()), **{variable: "production"})

    assert done.returncode == 1
    assert "Railway" in done.stderr


def test_a_taken_port_is_said_with_the_way_out(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        done = _run(dev(data_dir, port))

    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert "make run" in done.stderr


def test_a_directory_that_cannot_be_written_is_said() -> None:
    done = _run(dev(Path("/proc/velro"), free_port()))

    assert done.returncode == 1
    assert "/proc/velro cannot be written to" in done.stderr


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=clean_environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _family(pid: int) -> list[int]:
    """Return *pid* and all that descend from it."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").iterdir():
            queue += map(int, (task / "children").read_text().split())
    return found


def _assert_gone(pids: list[int], within_s: float = 20) -> None:
    ends_s = time.monotonic() + within_s
    while left := [pid for pid in pids if _is_running(pid)]:
        assert time.monotonic() < ends_s, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_program_that_ends_is_seen_to_end(tmp_path: Path) -> None:
    """The checks above must notice what they claim to."""
    with program(["-c", "import time; time.sleep(60)"], tmp_path / "log") as running:
        assert isinstance(running, Program)
        assert _is_running(running.process.pid)
        running.process.kill()
        running.process.wait()
        assert not _is_running(running.process.pid)
