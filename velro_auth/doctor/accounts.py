"""Checks that a real login shows: the account, its claim, and whose address Supabase counts."""

from __future__ import annotations

from typing import Final

from velro_auth.checks import Finding
from velro_auth.doctor.case import PROBE_ADDRESS, Case, NotApplicable
from velro_auth.doctor.checkup import Check

_HOOK: Final = "velro_auth.custom_access_token_hook"


def _allowed(case: Case) -> Finding:
    if case.settings.forwards_client_ip:
        return Finding(
            "pass", "the setting and the key allow it; whether the project listens shows in forwarding.proof"
        )
    return Finding("warn", "the caller's address is not passed on: all logins count as one caller")


def _account(case: Case) -> Finding:
    return Finding("pass", f"logged in; the session ends at {case.session.expires_at}, or with this run")


def _claim(case: Case) -> Finding:
    role = case.claims.get("user_role")
    if role is None:
        return Finding("fail", "the access token has no claim user_role")
    return Finding("pass", f"user_role is {role!r}")


def _proof(case: Case) -> Finding:
    if not case.settings.forwards_client_ip:
        raise NotApplicable("no address is passed on; see forwarding.allowed")
    if not case.settings.database_url:
        raise NotApplicable("only the database shows whose address Supabase took down: set DATABASE_URL")
    seen = case.session_address()
    if seen == PROBE_ADDRESS:
        return Finding("pass", "Supabase took down the address that was passed on")
    return Finding("fail", f"Supabase took down {seen or 'no address'}, not the one that was passed on")


CHECKS: Final = (
    Check(
        name="account.login",
        what="The test account (AUTH_BENCH_EMAIL, AUTH_BENCH_PASSWORD) can log in.",
        why="Nothing else shows that a real login works; what follows needs its token.",
        mend="Compare both variables with the account; confirm its address in the project (Authentication, Users).",
        look=_account,
        needs=("upstream.login",),
    ),
    Check(
        name="account.claim",
        what="The token of the test account carries the claim user_role.",
        why="Without the claim everybody has the lowest role.",
        mend=f"Switch the hook on: Authentication, Hooks, Customize Access Token, function {_HOOK}.",
        look=_claim,
        needs=("account.login",),
    ),
    Check(
        name="forwarding.allowed",
        what="The setting and the key allow to pass on the caller's address.",
        why="Without it Supabase counts all users as one caller: 30 logins at once, then one every 2 s.",
        mend="Put an sb_secret_ key into SUPABASE_SECRET_KEY and leave AUTH_FORWARD_CLIENT_IP at 'auto'.",
        look=_allowed,
        needs=("settings.keys",),
    ),
    Check(
        name="forwarding.proof",
        what="The session of the test account has the address that was passed on.",
        why="A project that does not listen to Sb-Forwarded-For ignores it silently.",
        mend="Switch IP address forwarding on in the project: Authentication, Rate limits.",
        look=_proof,
        needs=("account.login",),
    ),
)
