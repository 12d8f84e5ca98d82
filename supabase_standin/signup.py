"""New accounts: signed up by strangers, or made by an administrator."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from supabase_standin import (
    addresses,
    confirming,
    flow_states,
    grants,
    guests,
    mails,
    params,
    phones,
    sessions,
    timestamps,
    users,
)
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.confirming import EMAIL_PROVIDER
from supabase_standin.errors import Failure, database_trouble
from supabase_standin.newcomers import create

FIELDS: Final[Mapping[str, type]] = {
    "email": str,
    "phone": str,
    "password": str,
    "data": dict,
    "gotrue_meta_security": dict,
    **flow_states.FIELDS,
}


class _Known(Exception):
    """The address has an account already."""


def sign_up(backend: Backend, call: Call, *, is_checked: bool = False) -> dict[str, Any]:
    """Answer ``POST /signup``: a session with autoconfirm, else the bare user who has mail to read.

    The account and the session are two transactions, as in the original: a failing hook leaves the account.

    Args:
        backend: The service.
        call: The request.
        is_checked: Whether captcha and limit were checked already.

    Raises:
        Failure: Not allowed, not valid, taken, a trigger objected, or the mail cannot be sent.
    """
    if not is_checked:
        grants.check_captcha(backend, call)
    given = params.read(call.body, struct="SignupParams", fields=FIELDS)
    if not given.get("email") and not given.get("phone"):
        return guests.sign_up(backend, call, given)
    if not is_checked:
        backend.limits.demand("signup", call.limited_as)
    _check(backend, given)
    if given.get("phone"):
        return phones.sign_up(backend, call, given)
    addresses.demand_provider(is_on=backend.config.email_logins, status=400, text="Email signups are disabled")
    email = addresses.checked(given["email"])
    try:
        user, body, is_new = _register(backend, call, email, given)
    except _Known:
        return _known(backend, email, given)
    if user.email_confirmed_at is None:
        return body
    answer = sessions.log_in(backend, call, user)
    # The original shows the rows it was about to write: no generated column, and what it changed later.
    answer["user"].pop("confirmed_at", None)
    for identity in answer["user"]["identities"] if is_new else []:
        identity["identity_data"]["email_verified"] = True
    return answer


def _register(
    backend: Backend, call: Call, email: str, given: Mapping[str, Any]
) -> tuple[users.User, dict[str, Any], bool]:
    """Return the new (or still unconfirmed) user, how it is shown, and whether it is new."""
    now = backend.clock()
    with backend.auth.transaction() as connection:
        user = users.by_email(connection, email, audience=call.audience)
        is_new = user is None
        if user is None:
            with database_trouble("Database error saving new user"):
                user_id = create(
                    connection,
                    now=now,
                    email=email,
                    password_hash=backend.passwords.hash(given["password"]),
                    user_metadata=given.get("data", {}),
                )
            user = users.get(connection, user_id)
        elif user.email_confirmed_at is not None:
            raise _Known
        if backend.config.autoconfirm:
            audit(connection, user, call, action="user_signedup", now=now)
            confirming.confirm(connection, user.id, now=now)
        else:
            _mail(backend, connection, call, user, given)
        user = users.get(connection, user.id)
        body = users.shown(connection, user)
    # A person who signs an invited address up has not proven to be its owner yet.
    return user, body | ({"user_metadata": {}, "identities": []} if user.invited_at else {}), is_new


def _mail(
    backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, given: Mapping[str, Any]
) -> None:
    audit(connection, user, call, action="user_confirmation_requested", now=backend.clock())
    pkce = bool(given.get("code_challenge"))
    if pkce:
        flow_states.start(
            connection, given, provider="email", method="email/signup", now=backend.clock(), user_id=user.id
        )
    mails.send_confirmation(backend, connection, call, user, pkce=pkce)


def _check(backend: Backend, given: Mapping[str, Any]) -> None:
    if not backend.config.signups:
        raise Failure(422, "signup_disabled", "Signups not allowed for this instance")
    if not given.get("password"):
        raise Failure(400, "validation_failed", "Signup requires a valid password")
    backend.passwords.check(given["password"])
    if given.get("email") and given.get("phone"):
        text = "Only an email address or phone number should be provided on signup."
        raise Failure(400, "validation_failed", text)
    flow_states.check(given)


def _known(backend: Backend, email: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse openly with autoconfirm; else pretend, so that the caller does not learn who has an account."""
    if backend.config.autoconfirm:
        raise Failure(422, "user_already_exists", "User already registered")
    now = timestamps.precise_text(backend.clock())
    return {
        "id": str(uuid.uuid4()),
        "aud": users.AUDIENCE,
        "role": "",
        "email": email,
        "phone": "",
        "confirmation_sent_at": now,
        "app_metadata": EMAIL_PROVIDER,
        "user_metadata": given.get("data", {}),
        "identities": [],
        "created_at": now,
        "updated_at": now,
        "is_anonymous": False,
    }
