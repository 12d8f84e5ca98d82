"""Checks of the database: each tells its share of what differs from the migrations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from velro_auth.health_checks import Finding, Grade
from velro_auth.ops.database import Difference, State
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DATABASE, DiagnosticContext, NotApplicable, NotGiven

#: What the name of a difference looks like → the check that tells of it; the first that fits.
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

_FIX: Final = "Run 'velro-auth doctor --fix': it mends this in one transaction and writes the way back into a file."
_SHOWN: Final = 4


def topic(difference: Difference) -> str:
    """Return the name of the check that tells of *difference*."""
    return next(name for pattern, name in TOPICS if re.match(pattern, difference.subject))


def _reachable(case: DiagnosticContext) -> Finding:
    if not case.settings.database_url:
        raise NotGiven("the service does not need the database, these checks do", give=DATABASE)
    return Finding("pass", f"{len(case.differences)} differences were found in what was looked at")


def _migrations(case: DiagnosticContext) -> Finding:
    found = _about("database.migrations", case)
    if not found:
        return Finding("pass", "all are applied as shipped")
    said = _said(found)
    edited = [one for one in found if one.found == State.EDITED.value]
    if edited:
        return Finding("fail", said, "Restore the migration files of the release that applied them.")
    return Finding("warn" if all(one.is_remark for one in found) else "fail", said)


def _differences(name: str, *, remark: Grade = "pass") -> Callable[[DiagnosticContext], Finding]:
    """Return a check of one topic.

    Args:
        name: The topic, which is the check's name.
        remark: The grade where there are remarks only.
    """

    def look(case: DiagnosticContext) -> Finding:
        if not case.is_migrated:
            raise NotApplicable("no migration is applied: velro-auth db up")
        found = _about(name, case)
        wrong = [one for one in found if not one.is_remark]
        return Finding("fail" if wrong else remark if found else "pass", _said(found) or "as the migrations say")

    return look


def _about(name: str, case: DiagnosticContext) -> list[Difference]:
    return [one for one in case.differences if topic(one) == name]


def _said(found: list[Difference]) -> str:
    lines = [f"{one.subject}: {_short(one.found)}" for one in found[:_SHOWN]]
    more = len(found) - _SHOWN
    return "; ".join([*lines, f"and {more} more"] if more > 0 else lines)


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


_NEEDS: Final = ("database.reachable",)

CHECKS: Final = (
    Check(
        name="database.reachable",
        what="The database of DATABASE_URL can be reached, and is that of a project.",
        why="Without it nothing below can be looked at.",
        mend="Copy the address of the session pooler (Connect, in the project) into DATABASE_URL, with the role"
        " postgres and the password percent-encoded.",
        look=_reachable,
    ),
    Check(
        name="database.migrations",
        what="All migrations are applied, none was edited since.",
        why="A table, a policy or a hook that this release counts on may be missing.",
        mend="Run 'velro-auth db plan', then 'velro-auth db up'.",
        look=_migrations,
        needs=_NEEDS,
    ),
    Check(
        name="database.sign_up",
        what="A rehearsed sign-up, change of mail, profile update and deletion go through; all of it is rolled back.",
        why="A trigger of the project that meets our row fails every sign-up with 500, while all else looks well.",
        mend="Run 'velro-auth db up --adopt': it lets a trigger of yours fire before ours. What is not in a trigger of"
        " auth.users: let it insert into public.users with 'on conflict (id) do nothing'. Where a rule of your own"
        " refuses the rehearsed user, nothing is wrong.",
        look=_differences("database.sign_up", remark="warn"),
        needs=_NEEDS,
    ),
    Check(
        name="database.triggers",
        what="The triggers are there and switched on.",
        why="Without them new users get no row, changed addresses are not followed, and nothing guards the roles.",
        mend=_FIX,
        look=_differences("database.triggers"),
        needs=_NEEDS,
    ),
    Check(
        name="database.functions",
        what="Our functions are as shipped: body, settings, owner, who may call them.",
        why="They run with the rights of the owner on each sign-up.",
        mend=_FIX,
        look=_differences("database.functions"),
        needs=_NEEDS,
    ),
    Check(
        name="database.policies",
        what="The policies of public.users are ours; others are a warning.",
        why="They alone say which rows a user sees and writes through the data API.",
        mend=f"{_FIX} A policy of your own: read it, and drop it if it opens more than it should.",
        look=_differences("database.policies", remark="warn"),
        needs=_NEEDS,
    ),
    Check(
        name="database.grants",
        what="The API roles have the rights they need, and no others.",
        why="A blanket grant lets users write columns that are not theirs, or empty the table.",
        mend=_FIX,
        look=_differences("database.grants"),
        needs=_NEEDS,
    ),
    Check(
        name="database.row_security",
        what="Row level security of public.users is on.",
        why="While it is off everybody with the public key reads every row.",
        mend=_FIX,
        look=_differences("database.row_security"),
        needs=_NEEDS,
    ),
    Check(
        name="database.columns",
        what="Columns, constraints and the role type are as the migrations made them.",
        why="The mirror and the token hook read and write them.",
        mend=f"{_FIX} A constraint that rows break stays unvalidated until the rows are mended.",
        look=_differences("database.columns"),
        needs=_NEEDS,
    ),
    Check(
        name="database.missing_rows",
        what="Every user of auth.users has a row in public.users.",
        why="A user without one has no role, no name and no credits.",
        mend=f"{_FIX} Thousands of rows: 'velro-auth db backfill', which holds up nobody.",
        look=_differences("database.missing_rows"),
        needs=_NEEDS,
    ),
    Check(
        name="database.outdated_rows",
        what="Rows of public.users follow the mail and the deletion of their user.",
        why="An old address is wrong data; that of a deleted user should be gone.",
        mend=f"{_FIX} Thousands of rows: 'velro-auth db backfill', which holds up nobody.",
        look=_differences("database.outdated_rows"),
        needs=_NEEDS,
    ),
    Check(
        name="database.orphans",
        what="Every row of public.users has its user.",
        why="Rows of users who are gone are data that should not be kept, and keep the foreign key unvalidated.",
        mend="Look, then delete them yourself; nothing else deletes rows: delete from public.users u where not exists"
        " (select from auth.users a where a.id = u.id); then 'select velro_auth.validate_users()'.",
        look=_differences("database.orphans"),
        needs=_NEEDS,
    ),
    Check(
        name="database.hook",
        what="The token hook, its policy and its rights are in the database.",
        why="Without them tokens have no user_role; with the hook on and its function gone nobody can log in.",
        mend=f"{_FIX} Then see that it is on: Authentication, Hooks.",
        look=_differences("database.hook"),
        needs=_NEEDS,
    ),
)
