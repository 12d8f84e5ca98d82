"""Which mail goes out for what: its secret, its clock, and the rows that remember both."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from supabase_standin import mailer, one_time_tokens, redirects, timestamps, users
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure
from supabase_standin.one_time_tokens import SENT_AT, Kind


def send_confirmation(
    backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, *, pkce: bool
) -> None:
    """Mail a new user the way to confirm the address.

    Raises:
        Failure: Too soon, too many, or the mail cannot be sent; the caller rolls back.
    """
    _send(backend, connection, call, user, template=mailer.CONFIRMATION, kind=Kind.CONFIRMATION, pkce=pkce)


def send_invitation(backend: Backend, connection: psycopg.Connection, call: Call, user: users.User) -> None:
    """Mail an invitation; it may be repeated at once.

    Raises:
        Failure: Too many mails, or the mail cannot be sent.
    """
    _send(backend, connection, call, user, template=mailer.INVITE, kind=Kind.CONFIRMATION, pkce=False, has_clock=False)
    now = backend.clock()
    users.update(connection, user.id, now=now, invited_at=timestamps.moment(now))


def send_recovery(
    backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, *, pkce: bool
) -> None:
    """Mail a user the way back in without the password.

    Raises:
        Failure: Too soon, too many, or the mail cannot be sent.
    """
    _send(backend, connection, call, user, template=mailer.RECOVERY, kind=Kind.RECOVERY, pkce=pkce)


def send_magic_link(
    backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, *, pkce: bool
) -> None:
    """Mail a user a link that logs in; it shares secret and clock with recovery.

    Raises:
        Failure: Too soon, too many, or the mail cannot be sent.
    """
    _send(backend, connection, call, user, template=mailer.MAGIC_LINK, kind=Kind.RECOVERY, pkce=pkce)


def send_reauthentication(backend: Backend, connection: psycopg.Connection, user: users.User) -> None:
    """Mail a user a nonce for a new password: a code without link.

    Raises:
        Failure: Too soon, too many, or the mail cannot be sent.
    """
    _demand_pause(backend, user.reauthentication_sent_at)
    code, email = one_time_tokens.new_code(backend.config.otp_length), user.email or ""
    backend.mailer.send(mailer.REAUTHENTICATION, to=email, code=code, email=email)
    token_hash = one_time_tokens.hashed(email, code)
    _keep(backend, connection, user, kind=Kind.REAUTHENTICATION, token_hash=token_hash, address=email)


def send_email_change(
    backend: Backend, connection: psycopg.Connection, call: Call, user: users.User, new_email: str, *, pkce: bool
) -> None:
    """Begin a change of address: a mail to the new one and, with double confirmation, one to the present one.

    Raises:
        Failure: Too soon, too many, or a mail cannot be sent.
    """
    _demand_pause(backend, user.email_change_sent_at)
    targets = [(Kind.EMAIL_CHANGE_NEW, new_email)]
    if backend.config.secure_email_change and user.email:
        targets.insert(0, (Kind.EMAIL_CHANGE_CURRENT, user.email))
    kept = []
    for kind, address in targets:
        code = one_time_tokens.new_code(backend.config.otp_length)
        token_hash = one_time_tokens.hashed(address, code, pkce=pkce)
        backend.mailer.send(
            mailer.EMAIL_CHANGE,
            to=address,
            code=code,
            token_hash=token_hash,
            redirect_to=redirects.chosen(backend.config, call),
            email=user.email or "",
            new_email=new_email,
        )
        kept.append((kind, token_hash, address))
    # Written when both are sent: no row is locked meanwhile.
    users.update(connection, user.id, now=backend.clock(), email_change=new_email, email_change_confirm_status=0)
    for kind, token_hash, address in kept:
        _keep(backend, connection, user, kind=kind, token_hash=token_hash, address=address)


def _send(
    backend: Backend,
    connection: psycopg.Connection,
    call: Call,
    user: users.User,
    *,
    template: mailer.Template,
    kind: Kind,
    pkce: bool,
    has_clock: bool = True,
) -> None:
    if has_clock:
        _demand_pause(backend, getattr(user, SENT_AT[kind]))
    code, email = one_time_tokens.new_code(backend.config.otp_length), user.email or ""
    token_hash = one_time_tokens.hashed(email, code, pkce=pkce)
    redirect_to = redirects.chosen(backend.config, call)
    backend.mailer.send(template, to=email, code=code, token_hash=token_hash, redirect_to=redirect_to, email=email)
    _keep(backend, connection, user, kind=kind, token_hash=token_hash, address=email)


def _keep(
    backend: Backend, connection: psycopg.Connection, user: users.User, *, kind: Kind, token_hash: str, address: str
) -> None:
    now = backend.clock()
    one_time_tokens.store(connection, user.id, kind, token_hash, relates_to=address, now=now)
    users.update(connection, user.id, now=now, **{SENT_AT[kind]: timestamps.moment(now)})


def _demand_pause(backend: Backend, sent_at: datetime | None) -> None:
    if sent_at is None:
        return
    left = sent_at.astimezone(UTC).timestamp() + backend.config.mail_interval_s - backend.clock()
    if left >= 0:
        text = f"For security purposes, you can only request this after {int(left)} seconds."
        raise Failure(429, "over_email_send_rate_limit", text)
