"""``velro-auth dev``: the whole product on a laptop, with no account and no Docker."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import requests

import velro_auth
from velro_auth.cli.processes import Stopped, start, stop, stop_on_signals
from velro_auth.database import DatabaseError, Runner
from velro_auth.settings import Settings, inherited

#: Of the checkout, where ``wsgi.py``, ``gunicorn.conf.py`` and ``migrations/`` are.
ROOT: Final = Path(velro_auth.__file__).resolve().parent.parent

DEMO_EMAIL: Final = "demo@example.com"
#: Known to everybody who reads the README; the server it opens listens on this machine only.
DEMO_PASSWORD: Final = "correct-horse-battery-staple"  # noqa: S105
BANNED_EMAIL: Final = "banned@example.com"

#: First start: download nothing, but create a database on a slow disk.
START_LIMIT_S: Final = 60
STOP_LIMIT_S: Final = 20

LOOPBACK: Final = "127.0.0.1"
LAST_PORT: Final = 65535


class CannotStart(click.ClickException):
    """Something outside has to change first; the message says what."""


@click.command()
@click.option("--port", type=click.IntRange(1, LAST_PORT), envvar="PORT", default=8000, show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".velro"),
    show_default=True,
    help="Where the local database is kept between runs.",
)
def dev(port: int, data_dir: Path) -> None:
    """Run the gateway against a local Supabase on this machine, until Ctrl-C.

    PostgreSQL comes from the extra 'dev', or from VELRO_PG_BIN (a folder with its programs), or from the system.
    VELRO_STANDIN_DATABASE names a running server to use instead, as its superuser.
    """
    settings = Settings.from_environment()
    if settings.environment:
        raise CannotStart("This is a Railway environment. 'velro-auth dev' opens accounts that everybody knows.")
    _require_programs()
    _require_directory(data_dir)
    require_free(port)
    with contextlib.suppress(Stopped), stop_on_signals():
        _run(port, data_dir)
    _say("Stopped.")


def _run(port: int, data_dir: Path) -> None:
    started_s = time.monotonic()
    with _standin(data_dir, free_port_beside(port)) as project:
        _migrate(project)
        _create_accounts(project)
        with _gateway(port, project) as gateway:
            _say(f"Ready after {time.monotonic() - started_s:.1f} s.\n")
            _say(_welcome(port, project))
            raise CannotStart(f"The gateway ended by itself, with status {gateway.wait()}; see its lines above.")


def _require_programs() -> None:
    for module in ("bcrypt", "psycopg"):
        try:
            __import__(module)
        except ImportError as error:
            raise CannotStart(f"{module} is missing: pip install 'velro-auth[dev]'") from error
    if not (ROOT / "wsgi.py").is_file():
        raise CannotStart("'velro-auth dev' runs from a checkout of the repository, and there is no wsgi.py here.")


def _require_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(f"{path} cannot be written to ({error.strerror}): choose another with --data-dir.") from error


def _listen(port: int) -> None:
    with socket.socket() as sock:
        # As a server does: what is left of connections that ended is not in the way.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))


def require_free(port: int, *, listen: Callable[[int], None] = _listen) -> None:
    """Return when the gateway can listen on a port.

    Raises:
        CannotStart: It is taken, or privileged.
    """
    try:
        listen(port)
    except PermissionError as error:
        raise CannotStart(
            f"Port {port} is privileged, and this user may not listen on it: choose one from 1024 on, as in"
            " PORT=8100 make run."
        ) from error
    except OSError as error:
        raise CannotStart(f"Port {port} is taken by another program: choose one, as in PORT=8100 make run.") from error


def _is_free(port: int) -> bool:
    try:
        _listen(port)
    except OSError:
        return False
    return True


def free_port_beside(port: int, *, is_free: Callable[[int], bool] = _is_free) -> int:
    """Return a free port above *port*, or below it where there is no room above.

    Raises:
        CannotStart: A hundred on either side are taken.
    """
    above, below = range(port + 1, min(port + 100, LAST_PORT) + 1), range(port - 1, max(port - 100, 1024), -1)
    for candidate in itertools.chain(above, below):
        if is_free(candidate):
            return candidate
    raise CannotStart(f"No port near {port} is free for the local Supabase: choose another, as in PORT=8100 make run.")


@contextlib.contextmanager
def _standin(data_dir: Path, port: int) -> Iterator[dict[str, Any]]:
    """Run the local Supabase; its progress goes to the terminal."""
    _say("Starting a local Supabase (PostgreSQL and Auth) …")
    command = [sys.executable, "-m", "velro_auth.standin", "--data-dir", str(data_dir.resolve()), "--port", str(port)]
    process = start(command, env=inherited(), cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CannotStart(f"The local Supabase did not start (status {process.wait()}); see above.")
        project = json.loads(line)
        assert isinstance(project, dict)
        yield project
    finally:
        stop(process, within_s=STOP_LIMIT_S)


def _migrate(project: dict[str, Any]) -> None:
    """Bring the local database where ``velro-auth db up`` brings a real one."""
    runner = Runner(project["database_dsn"])
    try:
        for step in runner.up():
            _say(f"  applied {step.label}")
        if runner.backfill_is_pending():
            runner.backfill()
    except DatabaseError as error:
        raise CannotStart(str(error)) from error


def _create_accounts(project: dict[str, Any]) -> None:
    """Bring the accounts to try with, where they are not there yet."""
    headers = {"apikey": project["secret_key"], "Authorization": f"Bearer {project['secret_key']}"}
    demo = {"user_metadata": {"display_name": "Demo"}}
    for email, more in ((DEMO_EMAIL, demo), (BANNED_EMAIL, {"ban_duration": "876000h"})):
        answer = requests.post(
            f"{project['url']}/auth/v1/admin/users",
            json={"email": email, "password": DEMO_PASSWORD, "email_confirm": True, **more},
            headers=headers,
            timeout=10,
        )
        already_there = answer.status_code == 422 and "email_exists" in answer.text  # noqa: PLR2004
        if not (answer.ok or already_there):
            raise CannotStart(f"The local Supabase refused to create {email}: {answer.status_code} {answer.text}")


@contextlib.contextmanager
def _gateway(port: int, project: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run the gateway as in production, but for the address it listens on."""
    _say("Starting the gateway …")
    env = inherited(
        # A file of the user's would win over what follows, and may name a project that is no toy.
        AUTH_ENV_FILE="",
        PORT=str(port),
        SUPABASE_URL=project["url"],
        SUPABASE_PUBLISHABLE_KEY=project["publishable_key"],
        SUPABASE_SECRET_KEY=project["secret_key"],
    )
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind", f"{LOOPBACK}:{port}"]
    process = start(command, env=env, cwd=ROOT)
    try:
        await_health(port, process)
        yield process
    finally:
        stop(process, within_s=STOP_LIMIT_S)


def await_health(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until the gateway answers.

    Raises:
        CannotStart: It ended, or did not answer within ``START_LIMIT_S``.
    """
    ends_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < ends_s and process.poll() is None:
        # On a busy machine the first answer may take longer than one attempt.
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"http://{LOOPBACK}:{port}/health", timeout=2).ok:
                return
        time.sleep(0.05)
    raise CannotStart("The gateway did not start; see its lines above.")


def _welcome(port: int, project: dict[str, Any]) -> str:
    return f"""\
  gateway   http://localhost:{port}
  Supabase  {project["url"]}
  database  {project["database_dsn"]}

Log in:

  curl -i http://localhost:{port}/api/v1/auth/login \\
    -H 'Content-Type: application/json' \\
    -d '{{"email": "{DEMO_EMAIL}", "password": "{DEMO_PASSWORD}"}}'

Stop with Ctrl-C.
"""


def _say(text: str) -> None:
    print(text, flush=True)
