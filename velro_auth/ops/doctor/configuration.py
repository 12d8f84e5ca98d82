"""Checks of what the gateway was told: nothing is asked of anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from velro_auth.config.validation import LEGACY
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DiagnosticContext

_VALUES: Final = "settings.values"


def _mistakes(name: str, good: Callable[[DiagnosticContext], str]) -> Callable[[DiagnosticContext], Finding]:
    """Return a check that tells the mistakes of the settings that belong to it."""

    def look(case: DiagnosticContext) -> Finding:
        found = [str(mistake) for mistake in case.settings.errors if mistake.check == name]
        return Finding("fail", "; ".join(found)) if found else Finding("pass", good(case))

    return look


def _keys(case: DiagnosticContext) -> str:
    settings = case.settings
    slots = {"secret": settings.supabase_secret_key, "publishable": settings.supabase_publishable_key}
    return f"set: {', '.join(slot for slot, key in slots.items() if key)}"


def _legacy(case: DiagnosticContext) -> Finding:
    settings = case.settings
    slots = {
        "SUPABASE_PUBLISHABLE_KEY": settings.supabase_publishable_key,
        "SUPABASE_SECRET_KEY": settings.supabase_secret_key,
    }
    found = [variable for variable, key in slots.items() if key.startswith(LEGACY)]
    return Finding("warn", f"a legacy key is in {', '.join(found)}") if found else Finding("pass", "none")


def _threads(case: DiagnosticContext) -> Finding:
    settings = case.settings
    found = next((mistake for mistake in settings.errors if mistake.check == "gunicorn.threads"), None)
    if found:
        return Finding("fail", str(found))
    numbers = f"{settings.login_slots} logins at once, {settings.gunicorn_threads} threads"
    if settings.login_slots >= settings.gunicorn_threads:
        return Finding("fail", numbers)
    if settings.gunicorn_threads < _THREADS:
        return Finding("warn", numbers, f"Set GUNICORN_THREADS to {_THREADS} or more.")
    return Finding("pass", numbers)


#: 100 logins a second of 100 ms collapse with 8 threads and not with 16 (measured).
_THREADS: Final = 16


def _workers(case: DiagnosticContext) -> Finding:
    workers = case.settings.web_concurrency
    return Finding("pass" if workers <= case.cores else "warn", f"{workers} workers, {case.cores} cores")


CHECKS: Final = (
    Check(
        name=_VALUES,
        what="Every variable has a value that its setting can have.",
        why="While one has not, login answers 503 upstream_misconfigured.",
        mend="Change the variables named; 'velro-auth config check' prints them all.",
        look=_mistakes(_VALUES, lambda _: "all are fit to serve"),
    ),
    Check(
        name="settings.url",
        what="SUPABASE_URL is the bare https address of a project.",
        why="Passwords go there, and nowhere else.",
        mend="Set SUPABASE_URL to https://<ref>.supabase.co (Project Settings, Data API).",
        look=_mistakes("settings.url", lambda case: case.settings.supabase_url),
    ),
    Check(
        name="settings.keys",
        what="There is a key, and each key is in its own slot.",
        why="A key in the wrong slot works just well enough to mislead: people log in, but all count as one caller.",
        mend="Put sb_secret_… into SUPABASE_SECRET_KEY and sb_publishable_… into SUPABASE_PUBLISHABLE_KEY (Project"
        " Settings, API Keys).",
        look=_mistakes("settings.keys", _keys),
    ),
    Check(
        name="settings.project",
        what="The keys belong to the project of SUPABASE_URL, as far as they say.",
        why="Supabase refuses another project's key, and nobody can log in.",
        mend="Copy SUPABASE_URL and the keys from one and the same project.",
        look=_mistakes("settings.project", lambda _: "no key names another project"),
    ),
    Check(
        name="settings.legacy",
        what="No legacy key (anon, service_role) is used.",
        why="Supabase is about to end them, and with one no caller's address can be passed on.",
        mend="Make an sb_secret_ key for this service alone (Project Settings, API Keys), put it into"
        " SUPABASE_SECRET_KEY, deploy, then disable the legacy keys.",
        look=_legacy,
    ),
    Check(
        name="gunicorn.threads",
        what="Fewer logins than threads may ask Supabase at once.",
        why="Otherwise a slow Supabase takes all threads, and probes and verify wait with the logins.",
        mend="Set LOGIN_CONCURRENCY to 0 (three quarters of the threads) or below GUNICORN_THREADS.",
        look=_threads,
    ),
    Check(
        name="gunicorn.workers",
        what="There are no more worker processes than processor cores.",
        why="More of them only take turns, and each keeps connections and counters of its own.",
        mend="Set WEB_CONCURRENCY to the number of cores, or less.",
        look=_workers,
    ),
)
