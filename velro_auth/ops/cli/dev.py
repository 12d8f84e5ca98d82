"""``velro-auth dev``: run the gateway with a local Supabase, without an account and without Docker."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import requests

from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.click_helpers import json_option, option, print_found
from velro_auth.ops.cli.help_texts import texts
from velro_auth.ops.cli.local_project import LOOPBACK, CannotStart, LocalProject, mail_options
from velro_auth.ops.cli.ports import LAST_PORT, free_port_beside, require_free
from velro_auth.ops.cli.processes import Stopped, StopRequest, await_end, start, stop, stop_on_signals
from velro_auth.ops.cli.serve import gunicorn
from velro_auth.ops.database import DatabaseError, Runner
from velro_auth.ops.panel.project import PanelProject

DEMO_EMAIL: Final = "demo@example.com"
#: Public, because the README contains it; the gateway listens on this machine only.
DEMO_PASSWORD: Final = "correct-horse-battery-staple"  # noqa: S105
BANNED_EMAIL: Final = "banned@example.com"

#: Time limit of a start: the first one creates a database, perhaps on a slow disk.
START_LIMIT_S: Final = 60
STOP_LIMIT_S: Final = 20

#: Origins of a frontend under development, on any port: they may call the gateway, and sign-ins may lead there.
DEV_ORIGINS: Final = "http://localhost:*,http://127.0.0.1:*"

#: Where the local database is kept unless ``--data-dir`` says otherwise.
DATA_DIR: Final = Path(".velro")

_DATA_DIR: Final = click.Path(file_okay=False, path_type=Path)
#: For the commands below ``dev``, so that the option may also follow the name of the command.
_data_dir_option = click.option("--data-dir", type=_DATA_DIR, help="The same option as that of 'dev'.")


@click.group(invoke_without_command=True)
@option("--port", type=click.IntRange(1, LAST_PORT), envvar="PORT", default=8000)
@option("--data-dir", type=_DATA_DIR, default=DATA_DIR, help="Where the local database is kept between runs.")
@option(
    "--confirm",
    type=click.Choice(["auto", "mail"]),
    envvar="AUTH_DEV_CONFIRM",
    default="auto",
    help="Whether a new account is confirmed at once or by a mail.",
)
@click.pass_context
def dev(context: click.Context, port: int, data_dir: Path, confirm: str) -> None:
    """Run the gateway against a local Supabase on this machine, until Ctrl-C.

    Mails go to the mailbox of the local Supabase, and to the mail server of SMTP_URL if that is set.
    PostgreSQL comes from the extra 'dev', or from VELRO_PG_BIN (a folder with its programs), or from the system.
    VELRO_STANDIN_DATABASE names a running server to use instead, as its superuser.
    """
    context.obj = data_dir
    if context.invoked_subcommand is None:
        _serve(port, data_dir, confirm=confirm)


@dev.command()
@_data_dir_option
@json_option
@click.pass_obj
def env(dev_data_dir: Path, data_dir: Path | None, *, as_json: bool) -> None:
    """Print the keys and addresses of the running project, for a shell: eval "$(velro-auth dev env)"."""
    variables = LocalProject.running(data_dir or dev_data_dir).variables()
    print_found(
        variables, (f"export {name}={shlex.quote(value)}" for name, value in variables.items()), as_json=as_json
    )


@dev.command("add-user")
@click.argument("email")
@click.option("--password", help="Default: a random one, which is printed.")
@_data_dir_option
@click.pass_obj
def add_user(dev_data_dir: Path, email: str, password: str | None, data_dir: Path | None) -> None:
    """Add a user with a confirmed address to the running project."""
    chosen = password or secrets.token_urlsafe(12)
    if not LocalProject.running(data_dir or dev_data_dir).add_user(email, chosen):
        raise CannotStart(f"{email} has an account already.")
    click.echo(f"Added {email}" + ("" if password else f" with the password {chosen}"))


def _serve(port: int, data_dir: Path, *, confirm: str) -> None:
    settings = Settings.from_environment()
    if settings.environment:
        raise CannotStart("This is a Railway environment. 'velro-auth dev' opens accounts that everybody knows.")
    _require_programs()
    _require_directory(data_dir)
    require_free(port)
    with contextlib.suppress(Stopped), stop_on_signals() as request:
        _run(port, data_dir, request, confirm=confirm)
    click.echo("Stopped.")


def _run(port: int, data_dir: Path, request: StopRequest, *, confirm: str) -> None:
    started_s = time.monotonic()
    gateway_url = f"http://localhost:{port}"
    options = mail_options(gateway_url, confirm=confirm)
    with _standin(data_dir, free_port_beside(port), options, gateway_url=gateway_url) as project:
        _migrate(project)
        _create_accounts(project)
        with _gateway(port, project) as gateway, project.published(data_dir):
            click.echo(f"Ready after {time.monotonic() - started_s:.1f} s.\n")
            click.echo(welcome(port, project, data_dir))
            status = await_end(gateway, request)
            raise CannotStart(f"The gateway ended by itself, with status {status}; see its lines above.")


def _require_programs() -> None:
    for module in ("supabase_standin", "bcrypt", "psycopg"):
        if importlib.util.find_spec(module) is None:
            raise CannotStart(
                f"The local Supabase is not installed ({module} is missing): run 'pip install ./supabase_standin' in a"
                " checkout of the repository, or install the wheel of velro-auth-standin that 'make dist' builds."
            )


def _require_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(f"{path} cannot be written to ({error.strerror}): choose another with --data-dir.") from error


@contextlib.contextmanager
def _standin(data_dir: Path, port: int, options: Sequence[str], *, gateway_url: str) -> Iterator[LocalProject]:
    """Run the local Supabase, which prints its progress to the terminal."""
    click.echo("Starting a local Supabase (PostgreSQL and Auth) …")
    command = [sys.executable, "-m", "supabase_standin", "--data-dir", str(data_dir.resolve()), "--port", str(port)]
    command += ["--provider", "demo", "--manual-linking", *options]
    process = start(command, env=inherited(), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CannotStart(f"The local Supabase did not start (status {process.wait()}); see above.")
        yield LocalProject.from_line(line, gateway_url=gateway_url)
    finally:
        stop(process, within_s=STOP_LIMIT_S)


def _migrate(project: LocalProject) -> None:
    """Migrate the local database, as ``velro-auth db up`` migrates a real one."""
    runner = Runner(project.database_dsn)
    try:
        for step in runner.up():
            click.echo(f"  applied {step.label}")
        if runner.backfill_is_pending():
            runner.backfill()
    except DatabaseError as error:
        raise CannotStart(str(error)) from error


def _create_accounts(project: LocalProject) -> None:
    """Create the demo accounts if they do not exist yet."""
    project.add_user(DEMO_EMAIL, DEMO_PASSWORD, user_metadata={"display_name": "Demo"})
    project.add_user(BANNED_EMAIL, DEMO_PASSWORD, ban_duration="876000h")


def _gateway(port: int, project: LocalProject) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run the gateway in front of the local Supabase."""
    click.echo("Starting the gateway …")
    if inherited().get("AUTH_ENV_FILE"):
        click.echo("AUTH_ENV_FILE is ignored here: its settings would win over those of the local Supabase.")
    env = {
        "CORS_ORIGINS": DEV_ORIGINS,
        "AUTH_REDIRECT_URLS": DEV_ORIGINS,
        "AUTH_PUBLIC_URL": project.gateway_url,
        "AUTH_SUPABASE_API": "on",
        "AUTH_PAGES": "on",
        "AUTH_PAGES_PROVIDERS": "demo",
        "AUTH_BRAND_NAME": "Velro (local)",
        **inherited(
            # Settings in a file would win over these variables, and may name a real project.
            AUTH_ENV_FILE="",
            SUPABASE_URL=project.url,
            SUPABASE_PUBLISHABLE_KEY=project.publishable_key,
            SUPABASE_SECRET_KEY=project.secret_key,
        ),
        **_panel(project).variables(),
    }
    return running_gateway(gunicorn("velro_auth.ops.panel.app:from_environment()"), port, env)


@contextlib.contextmanager
def running_gateway(
    command: Sequence[str], port: int, env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a gateway as in production, but listen on this machine only; *options* are those of ``Popen``.

    Raises:
        CannotStart: The gateway ended, or did not answer within ``START_LIMIT_S``.
    """
    process = start([*command, "--bind", f"{LOOPBACK}:{port}"], env={**env, "PORT": str(port)}, **options)
    try:
        await_health(port, process)
        yield process
    finally:
        stop(process, within_s=STOP_LIMIT_S)


def _panel(project: LocalProject) -> PanelProject:
    return PanelProject(
        gateway_url=project.gateway_url,
        supabase_url=project.url,
        mailbox_url=project.mailbox_url,
        control_token=project.control_token,
        email=DEMO_EMAIL,
        password=DEMO_PASSWORD,
        banned_email=BANNED_EMAIL,
    )


def await_health(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until the gateway answers."""
    ends_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < ends_s and process.poll() is None:
        # On a busy machine the first request may time out.
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"http://{LOOPBACK}:{port}/health", timeout=2).ok:
                return
        time.sleep(0.05)
    raise CannotStart("The gateway did not start; see its lines above.")


def welcome(port: int, project: LocalProject, data_dir: Path) -> str:
    """Return what to try next. The page to sign in is named at ``AUTH_PUBLIC_URL``: elsewhere it keeps no session."""
    program = (
        "velro-auth" if shutil.which("velro-auth") else os.path.relpath(Path(sys.executable).parent / "velro-auth")
    )
    folder = "" if data_dir == DATA_DIR else f" --data-dir {shlex.quote(str(data_dir))}"
    panel = f"{project.gateway_url}/   (what runs here, live, and what to try)"
    # Not that of AUTH_ENV_FILE, which the gateway does not read either.
    public_url = (inherited().get("AUTH_PUBLIC_URL") or project.gateway_url).rstrip("/")
    opened = (
        panel
        if public_url == project.gateway_url
        else f"{public_url}/   (AUTH_PUBLIC_URL: what browsers shall reach)\n  panel     {panel}"
    )
    text: str = texts()["dev"]["welcome"]
    return text.format(
        opened=opened,
        public_url=public_url,
        email=DEMO_EMAIL,
        password=DEMO_PASSWORD,
        project=project,
        port=port,
        command=f"{program} dev{folder}",
    )
