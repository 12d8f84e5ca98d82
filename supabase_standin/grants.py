"""The token endpoint: a password or a refresh token in, a session out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from supabase_standin import bearer, params, pkce, refresh, sessions, switched_off, users
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure, database_trouble

FIELDS: Final[Mapping[str, type]] = {
    "email": str,
    "phone": str,
    "password": str,
    "gotrue_meta_security": dict,
}


def token(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /token``: captcha, grant type, rate limit, then the grant itself.

    Raises:
        Failure: Any refusal, in the order of the original's checks.
    """
    grant_type = call.query.get("grant_type", "")
    if grant_type == "password":
        check_captcha(backend, call)
    grant = GRANTS.get(grant_type)
    if grant is None:
        raise Failure(400, "invalid_credentials", "unsupported_grant_type")
    backend.limits.demand("token", call.limited_as)
    return grant(backend, call)


def password(backend: Backend, call: Call) -> dict[str, Any]:
    """Log a user in with a password.

    Raises:
        Failure: Not this user, not this password, not now.
    """
    given = params.read(call.body, struct="PasswordGrantParams", fields=FIELDS)
    user = _look_up(backend, call, email=given.get("email", ""), phone=given.get("phone", ""))
    if user is None or not user.encrypted_password:
        raise wrong_credentials()  # no hash is computed: the original can be told apart by its timing too
    if user.is_banned(backend.clock()):
        raise Failure(400, "user_banned", "User is banned")
    if not backend.passwords.matches(given.get("password", ""), user.encrypted_password):
        raise wrong_credentials()
    _demand_confirmation(user, by_email=bool(given.get("email")))
    return sessions.log_in(backend, call, user) | {"weak_password": None}


def wrong_credentials() -> Failure:
    """Return the one answer for a wrong password and for an unknown user."""
    return Failure(400, "invalid_credentials", "Invalid login credentials")


def check_captcha(backend: Backend, call: Call) -> None:
    """Demand a captcha where that is switched on, but of no administrator; every token but ``invalid`` passes.

    Raises:
        Failure: The captcha is missing or refused.
    """
    if not backend.config.captcha or bearer.is_administrator(backend, call):
        return
    given = params.read(call.body, struct="GotrueRequest", fields={"gotrue_meta_security": dict})
    shown = str(given.get("gotrue_meta_security", {}).get("captcha_token", "")).strip()
    if not shown:
        raise _captcha_refused("no captcha_token found")
    if shown == "invalid":
        raise _captcha_refused("timeout-or-duplicate")


def _captcha_refused(why: str) -> Failure:
    return Failure(400, "captcha_failed", f"captcha protection: request disallowed ({why})")


def _look_up(backend: Backend, call: Call, *, email: str, phone: str) -> users.User | None:
    if email and phone:
        text = "Only an email address or phone number should be provided on login."
        raise Failure(400, "validation_failed", text)
    if email and not backend.config.email_logins:
        raise Failure(422, "email_provider_disabled", "Email logins are disabled")
    if phone and not backend.config.phone_logins:
        raise Failure(422, "phone_provider_disabled", "Phone logins are disabled")
    if not email and not phone:
        raise Failure(400, "validation_failed", "missing email or phone")
    with database_trouble("Database error querying schema"), backend.auth.transaction() as connection:
        if email:
            return users.by_email(connection, email, audience=call.audience)
        return users.by_phone(connection, re.sub(r"^\+|\s", "", phone), audience=call.audience)


def _demand_confirmation(user: users.User, *, by_email: bool) -> None:
    if by_email and user.email_confirmed_at is None:
        raise Failure(400, "email_not_confirmed", "Email not confirmed")
    if not by_email and user.phone_confirmed_at is None:
        raise Failure(400, "phone_not_confirmed", "Phone not confirmed")


GRANTS: Final[Mapping[str, Callable[[Backend, Call], dict[str, Any]]]] = {
    "password": password,
    "refresh_token": refresh.refresh,
    "pkce": pkce.trade,
    "id_token": switched_off.id_token,
    "web3": switched_off.web3,
}
