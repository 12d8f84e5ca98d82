"""Checks of the tokens that the project issues, as far as they show without a login."""

from __future__ import annotations

from typing import Any, Final

import jwt

from velro_auth.config.validation import LEGACY
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.upstream import translate

#: OpenID Connect Discovery 1.0: names the issuer of the tokens.
DISCOVERY: Final = "/auth/v1/.well-known/openid-configuration"

_SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


def _issuer(case: DiagnosticContext) -> Finding:
    told = translate.content(case.get(DISCOVERY))
    issuer = told.get("issuer") if isinstance(told, dict) else None
    if not isinstance(issuer, str) or not issuer:
        raise NotApplicable(f"{DISCOVERY} names no issuer; account.token looks at a real token")
    accepted = case.settings.issuers
    if issuer in accepted:
        return Finding("pass", f"tokens are issued by {issuer}")
    return Finding(
        "fail",
        f"tokens are issued by {issuer}; accepted: {', '.join(accepted)}",
        f"Set AUTH_ISSUERS={issuer}, or correct SUPABASE_URL.",
    )


def _secret(case: DiagnosticContext) -> Finding:
    settings = case.settings
    if not settings.supabase_jwt_secret:
        return Finding("pass", "not set: tokens that are signed with HS256 are left to Supabase")
    keys = [key for key in (settings.supabase_secret_key, settings.supabase_publishable_key) if key.startswith(LEGACY)]
    if not keys:
        raise NotApplicable("no legacy key is set that could show it; account.token looks at a real token")
    try:
        for key in keys:
            jwt.decode(key, settings.supabase_jwt_secret, algorithms=["HS256"], options=_SIGNATURE_ONLY)
    except jwt.PyJWTError:
        return Finding("fail", "the project's legacy key is not signed with it")
    return Finding("pass", "the project's legacy key is signed with it")


CHECKS: Final = (
    Check(
        name="upstream.issuer",
        what="The project issues tokens in a name that is accepted here.",
        why="Otherwise logins are 200 and everything after them is 401.",
        mend="Set AUTH_ISSUERS to the issuer of the project's tokens, or correct SUPABASE_URL.",
        look=_issuer,
        needs=("upstream.reachable",),
    ),
    Check(
        name="upstream.secret",
        what="SUPABASE_JWT_SECRET is that of the project, as far as a legacy key shows.",
        why="With another one, HS256 tokens are refused: logins are 200 and everything after them is 401.",
        mend="Copy the secret again (Project Settings, JWT Keys), or clear SUPABASE_JWT_SECRET.",
        look=_secret,
        needs=("settings.keys",),
    ),
)
