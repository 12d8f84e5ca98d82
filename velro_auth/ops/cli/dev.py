"""``velro-auth dev``: the whole product on a laptop, with no account and no Docker."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import requests

import velro_auth
from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.localproject import LOOPBACK, CannotStart, LocalProject
from velro_auth.ops.cli.processes import Stopped, StopRequest, await_end, start, stop, stop_on_signals
from velro_auth.ops.database import DatabaseError, Runner

#: Of the checkout, where ``wsgi.py``, ``gunicorn.conf.py`` and ``migrations/`` are.
ROOT: Final = Path(velro_auth.__file__).resolve().parent.parent

DEMO_EMAIL: Final = "demo@example.com"
#: Known to everybody who reads the README; the server it opens listens on this machine only.
DEMO_PASSWORD: Final = "correct-horse-battery-staple"  # noqa: S105
BANNED_EMAIL: Final = "banned@example.com"

#: First start: download nothing, but create a database on a slow disk.
START_LIMIT_S: Final = 60
STOP_LIMIT_S: Final = 20

#: A frontend under development, on whichever port its tools choose.
DEV_ORIGINS: Final = "http://localhost:*,http://127.0.0.1:*"

LAST_PORT: Final = 65535


@click.group(invoke_without_command=True)
@click.option("--port", type=click.IntRange(1, LAST_PORT), envvar="PORT", default=8000, show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".velro"),
    show_default=True,
    help="Where the local database is kept between runs.",
)
@click.pass_context
def dev(context: click.Context, port: int, data_dir: Path) -> None:
    """Run the gateway against a local Supabase on this machine, until Ctrl-C.

    PostgreSQL comes from the extra 'dev', or from VELRO_PG_BIN (a folder with its programs), or from the system.
    VELRO_STANDIN_DATABASE names a running server to use instead, as its superuser.
    """
    context.obj = data_dir
    if context.invoked_subcommand is None:
        _serve(port, data_dir)


@dev.command()
@click.pass_obj
def env(data_dir: Path) -> None:
    """Print the keys and addresses of the one that runs, for a shell: eval "$(velro-auth dev env)"."""
    for name, value in LocalProject.running(data_dir).variables().items():
        click.echo(f"export {name}={shlex.quote(value)}")


@dev.command("add-user")
@click.argument("email")
@click.option("--password", help="Printed where none is given and one is made up.")
@click.pass_obj
def add_user(data_dir: Path, email: str, password: str | None) -> None:
    """Add a user with a confirmed address to the one that runs."""
    chosen = password or secrets.token_urlsafe(12)
    if not LocalProject.running(data_dir).add_user(email, chosen):
        raise CannotStart(f"{email} has an account already.")
    click.echo(f"Added {email}" + ("" if password else f" with the password {chosen}"))


def _serve(port: int, data_dir: Path) -> None:
    settings = Settings.from_environment()
    if settings.environment:
        raise CannotStart("This is a Railway environment. 'velro-auth dev' opens accounts that everybody knows.")
    _require_programs()
    _require_directory(data_dir)
    require_free(port)
    with contextlib.suppress(Stopped), stop_on_signals() as request:
        _run(port, data_dir, request)
    _say("Stopped.")


def _run(port: int, data_dir: Path, request: StopRequest) -> None:
    started_s = time.monotonic()
    with _standin(data_dir, free_port_beside(port), gateway_url=f"http://localhost:{port}") as project:
        _migrate(project)
        _create_accounts(project)
        with _gateway(port, project) as gateway, project.noted(data_dir):
            _say(f"Ready after {time.monotonic() - started_s:.1f} s.\n")
            _say(_welcome(port, project))
            status = await_end(gateway, request)
            raise CannotStart(f"The gateway ended by itself, with status {status}; see its lines above.")


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
def _standin(data_dir: Path, port: int, *, gateway_url: str) -> Iterator[LocalProject]:
    """Run the local Supabase; its progress goes to the terminal."""
    _say("Starting a local Supabase (PostgreSQL and Auth) …")
    command = [sys.executable, "-m", "supabase_standin", "--data-dir", str(data_dir.resolve()), "--port", str(port)]
    process = start(command, env=inherited(), cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CannotStart(f"The local Supabase did not start (status {process.wait()}); see above.")
        yield LocalProject.announced(line, gateway_url=gateway_url)
    finally:
        stop(process, within_s=STOP_LIMIT_S)


def _migrate(project: LocalProject) -> None:
    """Bring the local database where ``velro-auth db up`` brings a real one."""
    runner = Runner(project.database_dsn)
    try:
        for step in runner.up():
            _say(f"  applied {step.label}")
        if runner.backfill_is_pending():
            runner.backfill()
    except DatabaseError as error:
        raise CannotStart(str(error)) from error


def _create_accounts(project: LocalProject) -> None:
    """Bring the accounts to try with, where they are not there yet."""
    project.add_user(DEMO_EMAIL, DEMO_PASSWORD, user_metadata={"display_name": "Demo"})
    project.add_user(BANNED_EMAIL, DEMO_PASSWORD, ban_duration="876000h")


@contextlib.contextmanager
def _gateway(port: int, project: LocalProject) -> Iterator[subprocess.Popen[str]]:
    """Run the gateway as in production, but for the address it listens on."""
    _say("Starting the gateway …")
    if inherited().get("AUTH_ENV_FILE"):
        _say("AUTH_ENV_FILE is left aside here: its settings would win over those of the local Supabase.")
    env = {
        "CORS_ORIGINS": DEV_ORIGINS,
        **inherited(
            # A file of the user's would win over what follows, and may name a project that is no toy.
            AUTH_ENV_FILE="",
            PORT=str(port),
            SUPABASE_URL=project.url,
            SUPABASE_PUBLISHABLE_KEY=project.publishable_key,
            SUPABASE_SECRET_KEY=project.secret_key,
        ),
    }
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


def _welcome(port: int, project: LocalProject) -> str:
    program = (
        "velro-auth" if shutil.which("velro-auth") else os.path.relpath(Path(sys.executable).parent / "velro-auth")
    )
    return f"""\
  gateway   {project.gateway_url}   (what it can do: {project.gateway_url}/docs)
  Supabase  {project.url}
  database  {project.database_dsn}

Log in:

  curl -i http://localhost:{port}/api/v1/auth/login \\
    -H 'Content-Type: application/json' \\
    -d '{{"email": "{DEMO_EMAIL}", "password": "{DEMO_PASSWORD}"}}'

Add a user:                    {program} dev add-user ada@example.com
Keys and addresses, in a shell: eval "$({program} dev env)"
Pages of http://localhost:* may call it; CORS_ORIGINS=https://app.example make run names others.

Stop with Ctrl-C.
"""


def _say(text: str) -> None:
    print(text, flush=True)
