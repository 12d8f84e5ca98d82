"""Turns what was mailed back into a session: a link that is followed, a hash or a code that is posted."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from werkzeug.wrappers import Response

from supabase_standin import (
    addresses,
    confirming,
    flow_states,
    one_time_tokens,
    params,
    phones,
    redirects,
    sessions,
    users,
)
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure, unhandled
from supabase_standin.one_time_tokens import PKCE_PREFIX, SENT_AT, Kind

FIELDS: Final[Mapping[str, type]] = {
    "type": str,
    "token": str,
    "token_hash": str,
    "email": str,
    "phone": str,
    "redirect_to": str,
}
#: Type of a link or code → the kinds of secrets it may be; the first fitting one counts.
KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "signup": (Kind.CONFIRMATION,),
    "invite": (Kind.CONFIRMATION,),
    "recovery": (Kind.RECOVERY,),
    "magiclink": (Kind.RECOVERY,),
    "email_change": (Kind.EMAIL_CHANGE_CURRENT, Kind.EMAIL_CHANGE_NEW),
    "email": (Kind.CONFIRMATION, Kind.RECOVERY),
}
#: What the type ``email`` turns out to be.
RESOLVED: Final = {Kind.CONFIRMATION: "signup", Kind.RECOVERY: "magiclink"}
#: Type of a link → the authentication method of the session its code is traded for.
METHODS: Final[Mapping[str, str]] = {
    "signup": "email/signup",
    "invite": "invite",
    "recovery": "recovery",
    "magiclink": "magiclink",
    "email_change": "email_change",
}
HALF_DONE: Final = "Confirmation link accepted. Please proceed to confirm link sent to the other email"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A secret that was good.

    Attributes:
        user: Whose.
        type: What it does; never ``email``.
        kind: Which secret it was.
    """

    user: users.User
    type: str
    kind: Kind


def follow(backend: Backend, call: Call) -> Response:
    """Answer ``GET /verify``: redirect with tokens, with a code, or with what went wrong.

    Raises:
        Failure: Type or token is missing; everything later becomes a redirect.
    """
    backend.limits.demand("verify", call.limited_as)
    kind, token_hash = call.query.get("type", ""), call.query.get("token", "")
    if not kind:
        raise Failure(400, "validation_failed", "Verify requires a verification type")
    if not token_hash:
        raise Failure(400, "validation_failed", "Verify requires a token or a token hash")
    pkce = token_hash.startswith(PKCE_PREFIX)
    if pkce and kind not in METHODS:
        raise unhandled()
    target = redirects.chosen(backend.config, call)
    try:
        return _see_other(_followed(backend, call, kind, token_hash, target))
    except Failure as failure:
        return _see_other(redirects.with_failure(target, failure, pkce=pkce))


def _followed(backend: Backend, call: Call, kind: str, token_hash: str, target: str) -> str:
    pkce = token_hash.startswith(PKCE_PREFIX)
    with backend.auth.transaction() as connection:
        proof = _by_hash(backend, connection, kind, token_hash)
        if not _take_effect(backend, connection, call, proof):
            return redirects.with_message(target, {"message": HALF_DONE}, pkce=pkce)
        if pkce:
            code = flow_states.hand_out(connection, proof.user.id, METHODS[proof.type], now=backend.clock())
            return redirects.with_code(target, code)
        answer = sessions.begin(backend, connection, call, proof.user.id, method="otp")
    return redirects.with_tokens(target, answer, kind=proof.type)


def post(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /verify``: a session for a hash, or for a code with the address it was sent to.

    Raises:
        Failure: The request is not whole, or the secret is not good (any more).
    """
    backend.limits.demand("verify", call.limited_as)
    given = params.read(call.body, struct="VerifyParams", fields=FIELDS)
    kind = given.get("type", "")
    find = _finder(backend, call, given)
    with backend.auth.transaction() as connection:
        proof = find(connection, kind)
        if not _take_effect(backend, connection, call, proof):
            return {"code": "200", "msg": HALF_DONE}
        return sessions.begin(backend, connection, call, proof.user.id, method="otp")


def _finder(backend: Backend, call: Call, given: Mapping[str, Any]) -> Callable[[psycopg.Connection, str], Proof]:
    token, token_hash = given.get("token", ""), given.get("token_hash", "")
    email, phone = given.get("email", ""), given.get("phone", "")
    if not given.get("type"):
        raise Failure(400, "validation_failed", "Verify requires a verification type")
    if bool(token) == bool(token_hash):
        raise Failure(400, "validation_failed", "Verify requires either a token or a token hash")
    if token_hash:
        if email or phone or given.get("redirect_to"):
            raise Failure(400, "validation_failed", "Only the token_hash and type should be provided")
        return lambda connection, kind: _by_hash(backend, connection, kind, token_hash)
    if bool(email) == bool(phone):
        text = "Only an email address or phone number should be provided on verify"
        raise Failure(400, "validation_failed", text)
    if phone:
        return lambda connection, _: _by_phone(backend, connection, call, phone=phone, code=token)
    address = _lower(email)
    return lambda connection, kind: _by_code(backend, connection, call, kind, email=address, code=token)


def _by_phone(backend: Backend, connection: psycopg.Connection, call: Call, *, phone: str, code: str) -> Proof:
    user = phones.verify(backend, connection, call, phone, code)
    if user is None:
        raise _code_refused()
    _refuse_banned(backend, user)
    return Proof(user=user, type="sms", kind=Kind.CONFIRMATION)


def _lower(email: str) -> str:
    try:
        return addresses.checked(email)
    except Failure as failure:
        raise Failure(422, "validation_failed", "Invalid email format") from failure


def _by_hash(backend: Backend, connection: psycopg.Connection, kind: str, token_hash: str) -> Proof:
    kinds = KINDS.get(kind)
    if kinds is None:
        raise Failure(400, "validation_failed", "Invalid email verification type")
    found = one_time_tokens.find(connection, token_hash, kinds)
    if found is None:
        raise _link_refused()
    user, secret = users.get(connection, found[0]), found[1]
    _refuse_banned(backend, user)
    now, lifetime_s = backend.clock(), backend.config.otp_exp_s
    if one_time_tokens.is_expired(getattr(user, SENT_AT[secret]), now=now, lifetime_s=lifetime_s):
        raise _link_refused()
    return Proof(user=user, type=RESOLVED[secret] if kind == "email" else kind, kind=secret)


def _by_code(
    backend: Backend, connection: psycopg.Connection, call: Call, kind: str, *, email: str, code: str
) -> Proof:
    shown = one_time_tokens.hashed(email, code)
    kinds = KINDS.get(kind, ())
    if kind == "email_change":
        kinds = kinds if backend.config.secure_email_change else (Kind.EMAIL_CHANGE_NEW,)
        found = one_time_tokens.find(connection, shown, kinds)
        found = found or one_time_tokens.find(connection, PKCE_PREFIX + shown, kinds)
        user = users.by_id(connection, found[0]) if found else None
    else:
        user = users.by_email(connection, email, audience=call.audience)
    if user is None:
        raise _code_refused()
    _refuse_banned(backend, user)
    now, lifetime_s = backend.clock(), backend.config.otp_exp_s
    for secret in kinds:
        kept, sent_at = getattr(user, secret), getattr(user, SENT_AT[secret])
        if one_time_tokens.is_good(shown, kept, sent_at, now=now, lifetime_s=lifetime_s):
            return Proof(user=user, type=RESOLVED[secret] if kind == "email" else kind, kind=secret)
    raise _code_refused()


def _take_effect(backend: Backend, connection: psycopg.Connection, call: Call, proof: Proof) -> bool:
    """Do what the secret is for; False when a second confirmation is still to come."""
    user = proof.user
    if proof.type == "sms":
        return True  # it took effect when it was found
    if proof.type == "email_change":
        if confirming.needs_both_addresses(backend, user):
            confirming.confirm_one_address(backend, connection, user, proof.kind)
            return False
        if not users.has_identity(connection, user.id, "email"):
            metadata = {**(user.raw_app_meta_data or {}), **confirming.EMAIL_PROVIDER}
            users.update(connection, user.id, now=backend.clock(), raw_app_meta_data=metadata)
        confirming.change_email(backend, connection, user)
        audit(connection, user, call, action="user_modified", now=backend.clock())
        return True
    is_new = user.email_confirmed_at is None
    effect = confirming.recover if proof.kind == Kind.RECOVERY else confirming.confirm_sign_up
    effect(backend, connection, user)
    audit(connection, user, call, action="user_signedup" if is_new else "login", now=backend.clock())
    return True


def _refuse_banned(backend: Backend, user: users.User) -> None:
    if user.is_banned(backend.clock()):
        raise Failure(403, "user_banned", "User is banned")


def _link_refused() -> Failure:
    return Failure(403, "otp_expired", "Email link is invalid or has expired")


def _code_refused() -> Failure:
    return Failure(403, "otp_expired", "Token has expired or is invalid")


def _see_other(url: str) -> Response:
    body = f'<a href="{html.escape(url)}">See Other</a>.\n\n'
    return Response(body, 303, headers={"Location": url}, content_type="text/html; charset=utf-8")
