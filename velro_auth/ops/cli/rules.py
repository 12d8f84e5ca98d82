"""``velro-auth rules``: which rule decides about a request, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import click

from velro_auth.auth.access_rules import AccessRule, AccessRules, Decision
from velro_auth.auth.request_paths import AmbiguousPath, readings
from velro_auth.auth.requirements import LEVELS
from velro_auth.auth.tokens import Claims
from velro_auth.config.rules_file import VARIABLE, read_rules_file
from velro_auth.errors import Forbidden
from velro_auth.ops.cli.click_helpers import json_option, print_json
from velro_auth.ops.cli.serve import settings_here
from velro_auth.web.problems import answer_for


class UnusableRules(click.ClickException):
    """The file of rules cannot be read or has a mistake. Its exit status is not that of a refused request."""

    exit_code = 2


@click.group()
def rules() -> None:
    """Explain the rules in the file that AUTH_RULES_FILE names."""


@rules.command()
@click.argument("method")
@click.argument("url")
@click.option(
    "--as", "role", metavar="ROLE", help="As a user with this role; without it, and without --aal, as nobody."
)
@click.option("--aal", type=click.Choice(list(LEVELS)), help="As a user whose session has this level; aal1 with --as.")
@click.option("--file", "path", type=click.Path(dir_okay=False), help="Another file than that of AUTH_RULES_FILE.")
@json_option
def explain(method: str, url: str, role: str | None, aal: str | None, path: str | None, *, as_json: bool) -> None:
    """Say which rule decides about a request with METHOD for URL, and why. Exits with 1 for a request that is refused.

    URL is the whole address, such as https://app.example.com/admin/users, as the browser asks for it.
    """
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        raise click.UsageError(f"{url!r} is no whole address: write https://app.example.com/path")
    access = _rules(path)
    target = url.split(parts.netloc, 1)[1] or "/"
    decision = access.decide(method, parts.netloc, target)
    passed_over = list(_passed_over(access, decision, method, parts.netloc, target))
    claims = Claims(sub="", session_id="", exp=0, user_role=role, aal=aal or "aal1") if role or aal else None
    status, why = _verdict(decision, claims)
    if as_json:
        print_json({"status": int(status), "why": why, "passed_over": [line.strip() for line in passed_over]})
    else:
        click.echo("\n".join([*passed_over, f"{status}  {why}"]))
    if status != "200":
        sys.exit(1)


def _rules(path: str | None) -> AccessRules:
    path = path or settings_here().auth_rules_file
    if not path:
        raise click.UsageError(f"{VARIABLE} is not set: set it, or name a file with --file.")
    found = read_rules_file(path)
    if found.rules is None:
        raise UnusableRules("\n".join(map(str, found.errors)))
    return found.rules


def _passed_over(access: AccessRules, decision: Decision, method: str, host: str, target: str) -> Iterator[str]:
    """Yield a line for each rule before the deciding one: why it does not match."""
    try:
        path = readings(target)[0]
    except AmbiguousPath:
        return
    for number, rule in enumerate(access.rules, start=1):
        if rule is decision.rule:
            return
        mismatch = rule.mismatch(method.upper(), host.partition(":")[0].lower(), path)
        yield f"     {_named(rule, number)}: {f'another {mismatch}' if mismatch else 'matches one reading of the path'}"


def _verdict(decision: Decision, claims: Claims | None) -> tuple[str, str]:
    rule = decision.rule
    if rule is None or decision.allow == "nobody":
        return "403", f"forbidden: {decision.reason}" + (f" ({_named(rule)})" if rule else "")
    if decision.allow == "public":
        return "200", f"{_named(rule)} allows everybody"
    required = rule.requirements
    needed = [f"role {' or '.join(sorted(required.roles))}"] * bool(required.roles) + [required.aal] * bool(
        required.aal
    )
    wants = f"{_named(rule)} needs a session" + "".join(f", {need}" for need in needed)
    if claims is None:
        return "401", f"token_missing, or the way to the login: {wants}"
    try:
        required.check(claims)
    except Forbidden as error:
        return "403", f"{answer_for(error).code}: {wants}"
    return "200", wants


def _named(rule: AccessRule, number: int = 0) -> str:
    place = f"line {rule.line}" if rule.line else f"number {number}"
    return f"rule {rule.name!r} ({place})" if rule.name else f"the rule of {place}"
