"""Checks of the database: each reports its part of the differences from the migrations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from velro_auth.health_checks import Finding, Grade
from velro_auth.ops.database import Difference, State
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DATABASE, DiagnosticContext, NotApplicable, NotGiven

#: Pattern of a difference's subject → the check that reports it; the first match counts.
TOPICS: Final = (
    (r".*\(rehearsed\)", "database.sign_up"),
    (r"migration ", "database.migrations"),
    (r".*(custom_access_token_hook|supabase_auth_admin|Auth server can read roles)", "database.hook"),
    (r"trigger ", "database.triggers"),
    (r"(body|settings|owner) of function |function ", "database.functions"),
    (r"policy ", "database.policies"),
    (r"rights of ", "database.grants"),
    (r"row level security ", "database.row_security"),
    (r"users without a row", "database.missing_rows"),
    (r"rows of public.users without a user", "database.orphans"),
    (r"rows of public.users ", "database.outdated_rows"),
    (r"", "database.columns"),
)

_SHOWN: Final = 4


def topic(difference: Difference) -> str:
    """Return the name of the check that reports *difference*."""
    return next(name for pattern, name in TOPICS if re.match(pattern, difference.subject))


def _reachable(context: DiagnosticContext) -> Finding:
    if not context.settings.database_url:
        raise NotGiven("the service does not need the database, these checks do", give=DATABASE)
    return Finding("pass", f"{len(context.differences)} differences were found")


def _migrations(context: DiagnosticContext) -> Finding:
    found = _about("database.migrations", context)
    if not found:
        return Finding("pass", "all are applied as shipped")
    said = _said(found)
    edited = [one for one in found if one.found == State.EDITED.value]
    if edited:
        return Finding("fail", said, "Restore the migration files of the release that applied them.")
    return Finding("warn" if all(one.is_remark for one in found) else "fail", said)


def _differences(name: str, *, remark: Grade = "pass") -> Callable[[DiagnosticContext], Finding]:
    """Return the check of one topic.

    *remark* is the grade where there are remarks only.
    """

    def run(context: DiagnosticContext) -> Finding:
        if not context.is_migrated:
            raise NotApplicable("no migration is applied: velro-auth db up")
        found = _about(name, context)
        wrong = [one for one in found if not one.is_remark]
        return Finding("fail" if wrong else remark if found else "pass", _said(found) or "as the migrations say")

    return run


def _about(name: str, context: DiagnosticContext) -> list[Difference]:
    return [one for one in context.differences if topic(one) == name]


def _said(found: list[Difference]) -> str:
    lines = [f"{one.subject}: {_short(one.found)}" for one in found[:_SHOWN]]
    more = len(found) - _SHOWN
    return "; ".join([*lines, f"and {more} more"] if more > 0 else lines)


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


CHECKS: Final[Mapping[str, Run]] = {
    "database.reachable": _reachable,
    "database.migrations": _migrations,
    "database.sign_up": _differences("database.sign_up", remark="warn"),
    "database.triggers": _differences("database.triggers"),
    "database.functions": _differences("database.functions"),
    "database.policies": _differences("database.policies", remark="warn"),
    "database.grants": _differences("database.grants"),
    "database.row_security": _differences("database.row_security"),
    "database.columns": _differences("database.columns"),
    "database.missing_rows": _differences("database.missing_rows"),
    "database.outdated_rows": _differences("database.outdated_rows"),
    "database.orphans": _differences("database.orphans"),
    "database.hook": _differences("database.hook"),
}
