"""Checks that a real login shows: the account, its token, its claim, and whose address Supabase counts."""

from __future__ import annotations

from typing import Final

from velro_auth.auth.tokens import MAX_TOKEN_BYTES
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DATABASE, PROBE_ADDRESS, DiagnosticContext, NotApplicable, NotGiven

#: nginx's ``large_client_header_buffers`` is 8 KiB, less the name of the header and the word before the token.
_GATEWAYS_BYTES: Final = 8192 - len("Authorization: Bearer \r\n")

_HOOK: Final = "velro_auth.custom_access_token_hook"


def _allowed(case: DiagnosticContext) -> Finding:
    if case.settings.forwards_client_ip:
        return Finding(
            "pass", "the setting and the key allow it; whether the project listens shows in forwarding.proof"
        )
    return Finding("warn", "the caller's address is not passed on: all logins count as one caller")


def _account(case: DiagnosticContext) -> Finding:
    return Finding("pass", f"logged in; the session ends at {case.session.expires_at}, or with this run")


def _token(case: DiagnosticContext) -> Finding:
    token = case.session.access_token
    if refused := case.token_check.refused(token):
        return Finding("fail", f"{refused.cause.sentence} ({refused.detail})", f"{_sentence(refused.cause.fix)}.")
    said = f"verify accepts it; {len(token):,} bytes of at most {MAX_TOKEN_BYTES:,}"
    if len(token) > _GATEWAYS_BYTES:
        return Finding(
            "warn",
            f"{said}; nginx by default refuses header lines beyond 8,192 bytes",
            "Put less into app_metadata, user_metadata and the hook's claims, or raise the limit of the gateway.",
        )
    return Finding("pass", said)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _claim(case: DiagnosticContext) -> Finding:
    role = case.claims.get("user_role")
    if role is None:
        return Finding("fail", "the access token has no claim user_role")
    return Finding("pass", f"user_role is {role!r}")


def _proof(case: DiagnosticContext) -> Finding:
    if not case.settings.forwards_client_ip:
        raise NotApplicable("no address is passed on; see forwarding.allowed")
    if not case.settings.database_url:
        raise NotGiven("only the database shows whose address Supabase took down", give=DATABASE)
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
        name="account.token",
        what="This service accepts the token that the test account got: issuer, signature, claims, times and size.",
        why="Otherwise logins are 200 and everything after them is 401.",
        mend="Set what the finding names.",
        look=_token,
        needs=("account.login",),
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
