"""``velro-auth init``: write a file with the settings after three questions, and check the project."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from velro_auth.config import sources
from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.cli.click_helpers import console, option
from velro_auth.ops.cli.config import dotenv
from velro_auth.ops.cli.serve import ENV_FILE
from velro_auth.ops.doctor import report
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import overall, run
from velro_auth.ops.doctor.context import DiagnosticContext

#: Variable → the question for it. The last one may stay without an answer.
QUESTIONS: Final[Mapping[str, str]] = {
    "SUPABASE_URL": "Address of the Supabase project (https://<ref>.supabase.co)",
    "SUPABASE_SECRET_KEY": "Its secret key (sb_secret_…; it is not shown)",
    "CORS_ORIGINS": "Origin of the frontend, such as https://app.example.com (empty: none)",
}
_HIDDEN: Final = "SUPABASE_SECRET_KEY"

#: Checks of the doctor that need neither a running service nor an account.
CHECKED: Final = ("settings.values", "settings.url", "settings.keys", "settings.project", "upstream.key")

#: A value that every reader of such files takes as it stands, without quotes.
_TOKEN_BYTES: Final = 24
_PLAIN: Final = re.compile(r"[\w.:/,@%+=*-]*", re.ASCII)


@click.command()
@option("--file", "path", type=click.Path(dir_okay=False, path_type=Path), default=ENV_FILE, help="The file to write.")
@click.option("--yes", is_flag=True, help=f"Ask nothing: take {', '.join(QUESTIONS)} from the environment.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--check/--no-check", default=True, show_default=True, help="Whether to ask the project if it is right.")
def init(*, path: Path, yes: bool, force: bool, check: bool) -> None:
    """Write a file with all settings and comments, which only this user can read; then check the project.

    The new file stays when the project does not answer as it should.
    """
    if not force and os.path.lexists(path):
        raise click.ClickException(f"{path} is there already: --force replaces it, --file writes another one.")
    text = env_file(_taken(inherited()) if yes else _asked(inherited()))
    try:
        write(path, text, force=force)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote {path}, which only you can read. Every other setting is in it, as a comment.")
    option = "" if path == ENV_FILE else f" --env-file {path}"
    if check and not _is_well(path):
        raise click.ClickException(f"Correct {path}, then start the service: velro-auth serve{option}")
    click.echo(f"Next, start the service: velro-auth serve{option}")


def env_file(answers: Mapping[str, str]) -> str:
    """Return the text of the file: the answers, a new METRICS_TOKEN, and other settings as comments with defaults."""
    lines = dotenv().splitlines(keepends=True)
    lines[0] = "# Settings of velro-auth; a line that begins with # shows a default. Made by: velro-auth init\n"
    # Outside of Railway, /metrics is open to all until there is a token.
    chosen = {"METRICS_TOKEN": secrets.token_urlsafe(_TOKEN_BYTES), **answers}
    for variable, answer in chosen.items():
        at = next(number for number, line in enumerate(lines) if line.startswith(f"#{variable}="))
        if answer:
            lines[at] = f"{variable}={_quoted(answer)}\n"
    return "".join(lines)


def write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only this user can read; with *force*, a new one takes the place of the old one.

    Raises:
        OSError: It cannot be written, or is there already.
    """
    target = path.with_name(f"{path.name}.{secrets.token_hex(4)}") if force else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if force:
        target.replace(path)


def wrong(variable: str, answers: Mapping[str, str]) -> str:
    """Return what is wrong with the answer for *variable*; empty if nothing is."""
    found = [error.advice for error in Settings.from_environment(answers).errors if error.variable == variable]
    return "; ".join(found)


def _asked(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Ask each question until its answer is right. A variable that is set is the suggestion."""
    answers: dict[str, str] = {}
    for variable, question in QUESTIONS.items():
        while True:
            answer = click.prompt(
                question,
                default=variables.get(variable, "" if variable == "CORS_ORIGINS" else None),
                hide_input=variable == _HIDDEN,
                show_default=variable != _HIDDEN,
            )
            answers[variable] = str(answer).strip()
            if not (advice := wrong(variable, answers)):
                break
            click.echo(f"  {advice}", err=True)
    return answers


def _taken(variables: Mapping[str, str]) -> Mapping[str, str]:
    answers = {variable: variables.get(variable, "").strip() for variable in QUESTIONS}
    for variable in QUESTIONS:
        if advice := wrong(variable, answers):
            raise click.UsageError(f"{variable}: {advice}")
    return answers


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_well(path: Path) -> bool:
    """Run some checks of the doctor with the settings in that file, print what they find, and return the result."""
    click.echo("Asking the project …")
    # The checks report what the service would log.
    logging.getLogger("velro_auth").addHandler(logging.NullHandler())
    settings = Settings.from_environment({sources.VARIABLE: str(path)})
    with contextlib.closing(DiagnosticContext(settings=settings, gateway_url="", account=None)) as context:
        results = run(CHECKS, context, only=CHECKED)
    out = console()
    for line in report.lines(results):
        out.print(line)
    return overall(results) != "fail"
