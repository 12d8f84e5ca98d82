"""The check of the captcha: a secret key in front of a project makes it disappear."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DiagnosticContext
from velro_auth.upstream.captcha import Answer, ask, question

_SAID: Final[Mapping[tuple[str, Answer], Finding]] = {
    ("auto", "demanded"): Finding("pass", "the project demands a captcha, and so does this service"),
    ("on", "demanded"): Finding("pass", "the project demands a captcha, and so does this service"),
    ("off", "demanded"): Finding(
        "fail", "the project demands a captcha, and AUTH_CAPTCHA=off skips it", "Set AUTH_CAPTCHA to 'auto'."
    ),
    ("auto", "not demanded"): Finding("pass", "the project demands no captcha"),
    ("off", "not demanded"): Finding("pass", "the project demands no captcha"),
    ("on", "not demanded"): Finding(
        "warn",
        "the project demands no captcha, and for AUTH_CAPTCHA=on no caller's address is passed on",
        "Set AUTH_CAPTCHA to 'auto', or switch the captcha on in the project.",
    ),
}


def _captcha(case: DiagnosticContext) -> Finding:
    settings = case.settings
    if not settings.supabase_secret_key:
        return Finding("pass", "logins go with the publishable key: Supabase demands what it has to")
    key = settings.supabase_publishable_key
    if not key:
        if settings.auth_captcha == "off":
            return Finding("pass", "AUTH_CAPTCHA=off: no captcha is demanded here")
        return Finding("warn", "cannot be learnt without SUPABASE_PUBLISHABLE_KEY; the secret key skips a captcha")
    with contextlib.closing(case.transport()) as transport:
        answer = ask(transport, question(transport, key))
    return _SAID.get((settings.auth_captcha, answer), Finding("warn", f"cannot be learnt: {answer}"))


CHECKS: Final = (
    Check(
        name="captcha.demanded",
        what="A captcha that the project demands is demanded here as well.",
        why="For calls with a secret key Supabase checks none: passwords could be tried without one.",
        mend="Set SUPABASE_PUBLISHABLE_KEY and leave AUTH_CAPTCHA at 'auto'; where the project demands none, set"
        " AUTH_CAPTCHA=off.",
        look=_captcha,
        needs=("upstream.login",),
    ),
)
