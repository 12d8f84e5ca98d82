"""``velro-auth doctor``: what is wrong, why it matters, and how to fix it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from velro_auth.auth.models import Credentials
from velro_auth.ops.cli.click_helpers import address_or_none, console, json_option, option, password_option, working
from velro_auth.ops.cli.serve import settings_here
from velro_auth.ops.database import DatabaseError
from velro_auth.ops.doctor import fix, report
from velro_auth.ops.doctor.checks import CHECKS, CLIENT_CHECKS
from velro_auth.ops.doctor.checkup import Check, Unknown, overall, run
from velro_auth.ops.doctor.client_calls import GatewayClient
from velro_auth.ops.doctor.context import DiagnosticContext
from velro_auth.ops.doctor.fix import FixResult

_FOLDER: Final = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--url", default="", callback=address_or_none, help="Address of a running gateway, to be checked too.")
@click.option("--only", metavar="ID[,ID]", default="", help="Only these checks, and what they need.")
@json_option
@click.option("--fix", is_flag=True, help="Fix the database first, and write an undo file.")
@click.option("--dry-run", is_flag=True, help="With --fix: show what would be fixed, and change nothing.")
@option("--rollback-dir", type=_FOLDER, default=Path(), help="The folder of the undo file.")
@option("--email", envvar="AUTH_BENCH_EMAIL", help="An account to log in with.")
@password_option
@click.option(
    "--rehearsal/--no-rehearsal",
    default=True,
    help="Rehearse a sign-up in the database, in a transaction that is rolled back.",
)
@click.option("--client", is_flag=True, help="Check instead what an app with Supabase's own client meets at --url.")
@click.option("--key", default="", help="With --client: the app's publishable key.  [default: of the settings]")
@click.option("--origin", default="", callback=address_or_none, help="With --client: the origin of the app's page.")
@click.option("--redirect-to", default="", help="With --client: an address that a sign-in is to lead to.")
@click.option("--reference", is_flag=True, hidden=True, help="Print docs/reference/doctor.md.")
def doctor(*, url: str, fix: bool, dry_run: bool, client: bool, reference: bool, **options: Any) -> None:
    """Check everything that a login depends on.

    With --client: check from outside what an app meets that uses Supabase's own client. That needs no settings.
    """
    if reference:
        click.echo(report.page((*CHECKS, *CLIENT_CHECKS)), nl=False)
        return
    as_json, origin, redirect_to = options["as_json"], options["origin"], options["redirect_to"]
    chosen = [name.strip() for name in options["only"].split(",") if name.strip()]
    if (fix and chosen) or (dry_run and not fix):
        raise click.UsageError("--fix fixes all of the database, without --only; --dry-run belongs to --fix.")
    if (client and (fix or not url)) or (not client and (options["key"] or origin or redirect_to)):
        raise click.UsageError(
            "--client needs --url, and goes without --fix; --key, --origin, --redirect-to need --client."
        )
    # The checks report what the service would log.
    logging.getLogger("velro_auth").addHandler(logging.NullHandler())
    settings = settings_here()
    email, password = options["email"], options["password"]
    account = Credentials(email, password) if email and password else None
    context = DiagnosticContext(settings=settings, gateway_url=url, account=account, rehearses=options["rehearsal"])
    if client:
        key = options["key"] or next(iter(settings.client_keys), "")
        caller = GatewayClient(url=url, key=key, origin=origin, redirect_to=redirect_to, account=account)
        _check(dataclasses.replace(context, client=caller), CLIENT_CHECKS, chosen, None, as_json=as_json)
    # The JSON document has it all.
    echo: Callable[[str], object] = (lambda _line: None) if as_json else click.echo
    fixed = _fix(settings.database_url, options["rollback_dir"], dry_run=dry_run, echo=echo) if fix else None
    _check(context, CHECKS, chosen, fixed, as_json=as_json)


def _check(
    context: DiagnosticContext,
    checks: Sequence[Check],
    chosen: Sequence[str],
    fixed: FixResult | None,
    *,
    as_json: bool,
) -> NoReturn:
    with contextlib.closing(context):
        try:
            with working("Checking"):
                results = run(checks, context, only=chosen)
        except Unknown as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        at = dt.datetime.now().astimezone()
        click.echo(json.dumps(report.document(results, fix_result=fixed, at=at), indent=2, ensure_ascii=False))
    else:
        out = console()
        for line in report.lines(results):
            out.print(line)
    sys.exit(report.EXIT[overall(results)])


def _fix(dsn: str, folder: Path, *, dry_run: bool, echo: Callable[[str], object]) -> FixResult:
    try:
        wanted = [one.subject for one in fix.preview(dsn)]
        if dry_run:
            result = FixResult(remarks=[f"would fix: {subject}" for subject in wanted])
        else:
            for subject in wanted:
                echo(f"to fix: {subject}")
            result = fix.apply(dsn, folder=folder)
    except DatabaseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(report.EXIT["fail"])
    for line in (*(f"fixed: {change}" for change in result.changes), *result.remarks):
        echo(line)
    echo(f"The undo file is {result.rollback_file}" if result.rollback_file else "Nothing was changed.")
    return result
