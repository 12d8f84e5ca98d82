"""Checks that need a login: the account, its token and claim, and the address that Supabase records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from velro_auth.auth.tokens import MAX_TOKEN_BYTES
from velro_auth.errors import InsufficientAal
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DATABASE, PROBE_ADDRESS, DiagnosticContext, NotApplicable, NotGiven
from velro_auth.web.session_cookies import fits_into_cookies

#: nginx's ``large_client_header_buffers`` is 8 KiB, less the name of the header and the word before the token.
_GATEWAYS_BYTES: Final = 8192 - len("Authorization: Bearer \r\n")


def _allowed(context: DiagnosticContext) -> Finding:
    if context.settings.forwards_client_ip:
        return Finding("pass", "the setting and the key allow it; forwarding.proof shows whether the project uses it")
    return Finding("warn", "the caller's address is not passed on: all logins count as one caller")


def _account(context: DiagnosticContext) -> Finding:
    return Finding("pass", f"logged in; the session ends at {context.session.expires_at}, or with this run")


def _token(context: DiagnosticContext) -> Finding:
    session = context.session
    token = session.access_token
    if refused := context.token_check.refused(token):
        return Finding(
            "fail",
            f"{refused.cause.sentence} ({refused.detail})",
            f"{refused.cause.fix[:1].upper()}{refused.cause.fix[1:]}.",
        )
    said = f"verify accepts it; {len(token):,} bytes of at most {MAX_TOKEN_BYTES:,}"
    if context.settings.has_session_cookies and not fits_into_cookies(session):
        return Finding(
            "fail",
            f"{said}; with its refresh token it does not fit into the cookies of a session",
            "Put less into app_metadata, user_metadata and the hook's claims, or switch AUTH_COOKIE_SESSIONS and"
            " AUTH_PAGES off.",
        )
    if len(token) > _GATEWAYS_BYTES:
        return Finding(
            "warn",
            f"{said}; nginx by default refuses header lines beyond 8,192 bytes",
            "Put less into app_metadata, user_metadata and the hook's claims, or raise the limit of the gateway.",
        )
    return Finding("pass", said)


def _claim(context: DiagnosticContext) -> Finding:
    role = context.claims.get("user_role")
    if role is None:
        return Finding("fail", "the access token has no claim user_role")
    return Finding("pass", f"user_role is {role!r}")


def _sessions(context: DiagnosticContext) -> Finding:
    try:
        count = context.count_sessions()
    except InsufficientAal:
        raise NotApplicable("the test account has a second factor, which the list asks for") from None
    return Finding("pass", f"{count} listed")


def _proof(context: DiagnosticContext) -> Finding:
    if not context.settings.forwards_client_ip:
        raise NotApplicable("no address is passed on; see forwarding.allowed")
    if not context.settings.database_url:
        raise NotGiven("only the database shows which address Supabase recorded", give=DATABASE)
    seen = context.session_address()
    if seen == PROBE_ADDRESS:
        return Finding("pass", "Supabase recorded the address that was passed on")
    return Finding("fail", f"Supabase recorded {seen or 'no address'}, not the one that was passed on")


CHECKS: Final[Mapping[str, Run]] = {
    "account.login": _account,
    "account.token": _token,
    "account.claim": _claim,
    "account.sessions": _sessions,
    "forwarding.allowed": _allowed,
    "forwarding.proof": _proof,
}
