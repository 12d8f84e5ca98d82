"""Accounts by phone number. No message is ever sent: only numbers with a code of their own can be confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import psycopg

from supabase_standin import newcomers, one_time_tokens, phone_numbers, sessions, timestamps, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure
from supabase_standin.one_time_tokens import Kind


def sign_up(backend: Backend, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a sign-up with a number: a session when numbers need no message, else the bare user.

    Raises:
        Failure: Numbers are off, it is none or taken, too soon, or no service sends messages.
    """
    if not backend.config.phone_logins:
        raise Failure(400, "phone_provider_disabled", "Phone signups are disabled")
    number, now = phone_numbers.checked(given["phone"]), backend.clock()
    with backend.auth.transaction() as connection:
        user = users.by_phone(connection, number, audience=call.audience)
        if user is not None and user.phone_confirmed_at is not None:
            raise Failure(422, "user_already_exists", "User already registered")
        user = user or _create(backend, connection, number, given)
        audit(connection, user, call, action="user_signedup", now=now)
        if not backend.config.phone_autoconfirm:
            _send(backend, connection, user)
            return users.shown(connection, users.get(connection, user.id))
        users.update(connection, user.id, now=now, phone_confirmed_at=timestamps.moment(now))
        user = users.get(connection, user.id)
    answer = sessions.log_in(backend, call, user)
    answer["user"].pop("confirmed_at", None)  # the original has not read the generated column yet
    return answer


def otp(backend: Backend, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Answer ``POST /otp`` with a number.

    Raises:
        Failure: Numbers are off, it is none, unknown and not to be created, too soon, or no service sends messages.
    """
    if not backend.config.phone_logins:
        raise Failure(400, "phone_provider_disabled", "Unsupported phone provider")
    number = phone_numbers.checked(given["phone"])
    with backend.auth.transaction() as connection:
        user = users.by_phone(connection, number, audience=call.audience)
        if user is None:
            if not given.get("create_user", True) or not backend.config.signups:
                raise Failure(422, "otp_disabled", "Signups not allowed for otp")
            user = _create(backend, connection, number, given)
        _send(backend, connection, user)
    return {}


def verify(backend: Backend, connection: psycopg.Connection, call: Call, phone: str, code: str) -> users.User | None:
    """Return the user whose number and code these are, confirmed now; None when the code is not good."""
    user = users.by_phone(connection, phone_numbers.plain(phone), audience=call.audience)
    if user is None:
        return None
    now = backend.clock()
    shown = one_time_tokens.hashed(user.phone or "", code)
    kept, sent_at = user.confirmation_token, user.confirmation_sent_at
    if not one_time_tokens.is_good(shown, kept, sent_at, now=now, lifetime_s=backend.config.otp_exp_s):
        return None
    one_time_tokens.clear(connection, user.id, Kind.CONFIRMATION, now=now)
    if user.phone_confirmed_at is None:
        users.update(connection, user.id, now=now, phone_confirmed_at=timestamps.moment(now))
    audit(connection, user, call, action="user_signedup", now=now)
    return user


def _create(backend: Backend, connection: psycopg.Connection, number: str, given: Mapping[str, Any]) -> users.User:
    password = given.get("password")
    user_id = newcomers.create(
        connection,
        now=backend.clock(),
        phone=number,
        password_hash=backend.passwords.hash(password) if password else "",
        user_metadata=given.get("data", {}),
    )
    return users.get(connection, user_id)


def _send(backend: Backend, connection: psycopg.Connection, user: users.User) -> None:
    now, config = backend.clock(), backend.config
    if user.confirmation_sent_at is not None:
        left = user.confirmation_sent_at.astimezone(UTC).timestamp() + config.sms_interval_s - now
        if left >= 0:
            text = f"For security purposes, you can only request this after {int(left)} seconds."
            raise Failure(429, "over_sms_send_rate_limit", text)
    code = config.sms_test_codes.get(user.phone or "")
    if code is None:
        raise Failure(500, "unexpected_failure", "Unable to get SMS provider")
    token_hash = one_time_tokens.hashed(user.phone or "", code)
    one_time_tokens.store(connection, user.id, Kind.CONFIRMATION, token_hash, relates_to=user.phone or "", now=now)
    users.update(connection, user.id, now=now, confirmation_sent_at=timestamps.moment(now))
