"""Asks for mails: to recover, to log in without a password, to get a mail again, to prove oneself once more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from supabase_standin import addresses, bearer, flow_states, grants, mails, params, phones, signup, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure

RECOVER_FIELDS: Final[Mapping[str, type]] = {"email": str, "gotrue_meta_security": dict, **flow_states.FIELDS}
OTP_FIELDS: Final[Mapping[str, type]] = {
    **RECOVER_FIELDS,
    "phone": str,
    "create_user": bool,
    "data": dict,
    "channel": str,
}
RESEND_FIELDS: Final[Mapping[str, type]] = {**RECOVER_FIELDS, "type": str, "phone": str}
RESEND_TYPES: Final = ("signup", "email_change", "sms", "phone_change")


def recover(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /recover``: the same for known and unknown addresses, unless a mail was sent moments ago.

    Raises:
        Failure: Not valid, too soon, or the mail cannot be sent.
    """
    backend.limits.demand("recover", call.limited_as)
    grants.check_captcha(backend, call)
    given = params.read(call.body, struct="RecoverParams", fields=RECOVER_FIELDS)
    if not given.get("email"):
        raise Failure(400, "validation_failed", "Password recovery requires an email")
    addresses.demand_provider(is_on=backend.config.email_logins, status=400)
    email, pkce = addresses.checked(given["email"]), flow_states.check(given)
    user = _find(backend, call, email)
    if user is None:
        return {}
    if pkce:
        _start_flow(backend, given, user, "recovery")
    with backend.auth.transaction() as connection:
        audit(connection, user, call, action="user_recovery_requested", now=backend.clock())
        mails.send_recovery(backend, connection, call, user, pkce=pkce)
    return {}


def otp(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /otp``: a mail with code and link to log in with, or to sign up with.

    Raises:
        Failure: Not valid, not allowed, too soon, or the mail cannot be sent.
    """
    backend.limits.demand("otp", call.limited_as)
    grants.check_captcha(backend, call)
    given = params.read(call.body, struct="OtpParams", fields=OTP_FIELDS)
    email, phone = given.get("email", ""), given.get("phone", "")
    if email and phone:
        text = "Only an email address or phone number should be provided"
        raise Failure(400, "validation_failed", text)
    if email and given.get("channel"):
        text = "Channel should only be specified with Phone OTP"
        raise Failure(400, "validation_failed", text)
    flow_states.check(given)
    if email and not given.get("create_user", True):
        _demand_known(backend, call, email)
    if phone:
        return phones.otp(backend, call, given)
    if not email:
        raise Failure(400, "validation_failed", "One of email or phone must be set")
    return _magic_link(backend, call, given)


def magic_link(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /magiclink``, the older spelling of `otp`.

    Raises:
        Failure: As `otp`.
    """
    backend.limits.demand("otp", call.limited_as)
    grants.check_captcha(backend, call)
    return _magic_link(backend, call, params.read(call.body, struct="MagicLinkParams", fields=OTP_FIELDS))


def resend(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /resend``: a confirmation once more, where one is due.

    Raises:
        Failure: Not valid, too soon, or the mail cannot be sent.
    """
    backend.limits.demand("resend", call.limited_as)
    grants.check_captcha(backend, call)
    given = params.read(call.body, struct="ResendConfirmationParams", fields=RESEND_FIELDS)
    kind, pkce = _check_resend(backend, given), flow_states.check(given)
    user = _find(backend, call, addresses.checked(given["email"]))
    is_due = user is not None and (user.email_change if kind == "email_change" else user.email_confirmed_at is None)
    if user is None or not is_due:
        return {}
    if pkce:
        _start_flow(backend, given, user, "email_change" if kind == "email_change" else "email/signup")
    with backend.auth.transaction() as connection:
        if kind == "email_change":
            mails.send_email_change(backend, connection, call, user, user.email_change, pkce=pkce)
            return {}
        audit(connection, user, call, action="user_confirmation_requested", now=backend.clock())
        mails.send_confirmation(backend, connection, call, user, pkce=pkce)
    return {}


def reauthenticate(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``GET /reauthenticate``: a nonce by mail, for a new password in an old session.

    Raises:
        Failure: The token is not good, the user has no confirmed address, too soon, or the mail cannot be sent.
    """
    user = bearer.user(backend, call).user
    if not user.email:
        text = "Reauthentication requires the user to have an email or a phone number"
        raise Failure(400, "validation_failed", text)
    if user.email_confirmed_at is None:
        raise Failure(422, "email_not_confirmed", "Please verify your email first.")
    with backend.auth.transaction() as connection:
        audit(connection, user, call, action="user_reauthenticate_requested", now=backend.clock())
        mails.send_reauthentication(backend, connection, user)
    return {}


def _magic_link(backend: Backend, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    config = backend.config
    addresses.demand_provider(is_on=config.email_logins, status=422)
    addresses.demand_provider(is_on=config.magic_links, status=422, text="Login with magic link is disabled")
    if not given.get("email"):
        raise Failure(400, "validation_failed", "Password recovery requires an email")
    email, pkce = addresses.checked(given["email"]), flow_states.check(given)
    user = _find(backend, call, email)
    if user is None or user.email_confirmed_at is None:
        _sign_up(backend, call, given)
        if not config.autoconfirm:
            return {}  # the confirmation mail is the link
        user = _find(backend, call, email)
    assert user is not None
    if pkce:
        _start_flow(backend, given, user, "magiclink")
    with backend.auth.transaction() as connection:
        audit(connection, user, call, action="user_recovery_requested", now=backend.clock())
        mails.send_magic_link(backend, connection, call, user, pkce=pkce)
    return {}


def _sign_up(backend: Backend, call: Call, given: Mapping[str, Any]) -> None:
    """Sign the address up with a random password that is not kept."""
    names = ("email", "data", *flow_states.FIELDS)
    body = {name: given[name] for name in names if name in given} | {"password": secrets.token_hex(16) + "Aa1!"}
    inner = replace(call, body=json.dumps(body).encode(), reply_headers={})
    signup.sign_up(backend, inner, is_checked=True)


def _find(backend: Backend, call: Call, email: str) -> users.User | None:
    with backend.auth.transaction() as connection:
        return users.by_email(connection, email, audience=call.audience)


def _demand_known(backend: Backend, call: Call, email: str) -> None:
    if _find(backend, call, addresses.checked(email)) is None:
        raise Failure(422, "otp_disabled", "Signups not allowed for otp")


def _check_resend(backend: Backend, given: Mapping[str, Any]) -> str:
    kind, email, phone = str(given.get("type", "")), given.get("email", ""), given.get("phone", "")
    if kind not in RESEND_TYPES:
        text = f"Missing one of these types: {', '.join(RESEND_TYPES)}"
        raise Failure(400, "validation_failed", text)
    if kind in {"signup", "email_change"} and not email:
        raise Failure(400, "validation_failed", "Type provided requires an email address")
    if kind in {"sms", "phone_change"} and not phone:
        raise Failure(400, "validation_failed", "Type provided requires a phone number")
    if email and phone:
        text = "Only an email address or phone number should be provided."
        raise Failure(400, "validation_failed", text)
    if phone:
        raise Failure(400, "phone_provider_disabled", "Phone logins are disabled")
    addresses.demand_provider(is_on=backend.config.email_logins, status=400)
    return kind


def _start_flow(backend: Backend, given: Mapping[str, Any], user: users.User, method: str) -> None:
    """Start a flow in a transaction of its own: it stays when the mail is refused, as in the original."""
    with backend.auth.transaction() as connection:
        flow_states.start(connection, given, provider=method, method=method, now=backend.clock(), user_id=user.id)
