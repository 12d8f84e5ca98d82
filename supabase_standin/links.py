"""Links an administrator makes or mails: invitations, and the links of mails without the mail."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from supabase_standin import (
    account,
    addresses,
    admin,
    mailer,
    mails,
    newcomers,
    one_time_tokens,
    params,
    redirects,
    timestamps,
    users,
)
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure, database_trouble
from supabase_standin.one_time_tokens import SENT_AT, Kind

INVITE_FIELDS: Final[Mapping[str, type]] = {"email": str, "data": dict}
LINK_FIELDS: Final[Mapping[str, type]] = {
    "type": str,
    "email": str,
    "new_email": str,
    "password": str,
    "data": dict,
    "redirect_to": str,
}
#: Type of a link → its template and its secret.
TYPES: Final[Mapping[str, tuple[mailer.Template, Kind]]] = {
    "signup": (mailer.CONFIRMATION, Kind.CONFIRMATION),
    "invite": (mailer.INVITE, Kind.CONFIRMATION),
    "magiclink": (mailer.MAGIC_LINK, Kind.RECOVERY),
    "recovery": (mailer.RECOVERY, Kind.RECOVERY),
    "email_change_current": (mailer.EMAIL_CHANGE, Kind.EMAIL_CHANGE_CURRENT),
    "email_change_new": (mailer.EMAIL_CHANGE, Kind.EMAIL_CHANGE_NEW),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for.

    Attributes:
        type: The type of the link; a magic link for a stranger is a sign-up.
        email: The user's address.
        given: The fields of the request.
    """

    type: str
    email: str
    given: Mapping[str, Any]


def invite(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /invite``: a user without password, and a mail; inviting again sends another one.

    Raises:
        Failure: The address is none or confirmed already, or the mail cannot be sent.
    """
    given = params.read(call.body, struct="InviteParams", fields=INVITE_FIELDS)
    email = addresses.checked(given.get("email", ""))
    with backend.auth.transaction() as connection:
        user = users.by_email(connection, email, audience=call.audience)
        _refuse_confirmed(user)
        user = user or _create(backend, connection, email, given.get("data", {}), password="")
        traits = {"user_id": str(user.id), "user_email": email}
        admin.audit_as_admin(connection, "user_invited", traits, now=backend.clock())
        mails.send_invitation(backend, connection, call, user)
        return users.shown(connection, users.get(connection, user.id))


def generate(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /admin/generate_link``: the user, with code, hash and link of a mail that is not sent.

    Raises:
        Failure: The type is unknown, or the address does not fit it.
    """
    given = params.read(call.body, struct="GenerateLinkParams", fields=LINK_FIELDS)
    email = addresses.checked(given.get("email", ""))
    with backend.auth.transaction() as connection:
        user = users.by_email(connection, email, audience=call.audience)
        order = Order(type=_type(given, user), email=email, given=given)
        user = _prepared(backend, connection, order, user)
        code = one_time_tokens.new_code(backend.config.otp_length)
        token_hash = _keep(backend, connection, order, user, code)
        shown = users.shown(connection, users.get(connection, user.id))
    redirect_to = redirects.chosen(backend.config, call, form=given.get("redirect_to", ""))
    return shown | {
        "action_link": backend.mailer.link(TYPES[order.type][0], token_hash, redirect_to),
        "email_otp": code,
        # Of the present address for every type, in the original too.
        "hashed_token": one_time_tokens.hashed(email, code),
        "verification_type": order.type,
        "redirect_to": redirect_to,
    }


def _type(given: Mapping[str, Any], user: users.User | None) -> str:
    kind = str(given.get("type", ""))
    if user is None and kind == "magiclink":
        return "signup"
    if user is None and kind in {"recovery", "email_change_current", "email_change_new"}:
        raise Failure(404, "user_not_found", "User with this email not found")
    if kind not in TYPES:
        raise Failure(400, "validation_failed", f"Invalid email action link type requested: {kind}")
    return kind


def _prepared(backend: Backend, connection: psycopg.Connection, order: Order, user: users.User | None) -> users.User:
    """Return the user the link is for, created or changed as its type wants it."""
    now, data = backend.clock(), order.given.get("data", {})
    if order.type.startswith("email_change"):
        assert user is not None
        return _with_new_email(backend, connection, user, order.given)
    if order.type in {"signup", "invite"}:
        _refuse_confirmed(user)
        if user is None:
            user = _create(backend, connection, order.email, data, password=_password(backend, order))
        elif data:
            metadata = account.merged(user.raw_user_meta_data, data)
            users.update(connection, user.id, now=now, raw_user_meta_data=metadata)
        if order.type == "invite":
            users.update(connection, user.id, now=now, invited_at=timestamps.moment(now))
    assert user is not None
    return user


def _with_new_email(
    backend: Backend, connection: psycopg.Connection, user: users.User, given: Mapping[str, Any]
) -> users.User:
    if not given.get("new_email"):
        raise Failure(400, "validation_failed", "An email address is required")
    new_email = addresses.checked(given["new_email"])
    if users.by_email(connection, new_email) is not None:
        text = "A user with this email address has already been registered"
        raise Failure(422, "email_exists", text)
    users.update(connection, user.id, now=backend.clock(), email_change=new_email, email_change_confirm_status=0)
    return users.get(connection, user.id)


def _keep(backend: Backend, connection: psycopg.Connection, order: Order, user: users.User, code: str) -> str:
    """Keep the secret of the link and return its hash."""
    kind, now = TYPES[order.type][1], backend.clock()
    address = user.email_change if kind == Kind.EMAIL_CHANGE_NEW else order.email
    token_hash = one_time_tokens.hashed(address, code)
    one_time_tokens.store(connection, user.id, kind, token_hash, relates_to=address, now=now)
    if kind == Kind.EMAIL_CHANGE_NEW and user.email_change_token_current:
        # The original writes the other half anew as well.
        current = Kind.EMAIL_CHANGE_CURRENT
        kept = user.email_change_token_current
        one_time_tokens.store(connection, user.id, current, kept, relates_to=order.email, now=now)
    users.update(connection, user.id, now=now, **{SENT_AT[kind]: timestamps.moment(now)})
    return token_hash


def _password(backend: Backend, order: Order) -> str:
    if order.type == "invite":
        return ""
    if order.given.get("type") == "magiclink":
        return secrets.token_hex(16) + "Aa1!"
    password = str(order.given.get("password", ""))
    if not password:
        raise Failure(400, "validation_failed", "Signup requires a valid password")
    backend.passwords.check(password)
    return password


def _create(
    backend: Backend, connection: psycopg.Connection, email: str, data: Mapping[str, Any], *, password: str
) -> users.User:
    with database_trouble("Database error saving new user"):
        user_id = newcomers.create(
            connection,
            now=backend.clock(),
            email=email,
            password_hash=backend.passwords.hash(password) if password else "",
            user_metadata=data,
            by_admin=True,
        )
    return users.get(connection, user_id)


def _refuse_confirmed(user: users.User | None) -> None:
    if user is not None and user.email_confirmed_at is not None:
        text = "A user with this email address has already been registered"
        raise Failure(422, "email_exists", text)
