"""Second factors: a user enrols one, proves it with a code, and the session is worth more (aal2) from then on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, urlsplit

import psycopg
import pyotp

from supabase_standin import bearer, factortable, params, phone_numbers, qr, sessions, timestamps
from supabase_standin.backend import Backend, Call
from supabase_standin.errors import Failure
from supabase_standin.factortable import Factor

FIELDS: Final[Mapping[str, type]] = {"factor_type": str, "friendly_name": str, "issuer": str, "phone": str}
#: Type → what error texts call it.
NAMES: Final = {"totp": "TOTP", "phone": "Phone", "webauthn": "WebAuthn"}
#: A code of the period before or after is good as well.
SKEW_PERIODS: Final = 1


def enrol(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /factors``: a new factor, its secret and the QR code of it.

    Raises:
        Failure: The type is off, the name is taken, there are too many, or the session has one factor only.
    """
    who = _member(backend, call)
    given = params.read(call.body, struct="EnrollFactorParams", fields=FIELDS)
    kind, name = given.get("factor_type", ""), given.get("friendly_name", "")
    if kind not in NAMES:
        raise Failure(400, "validation_failed", "factor_type needs to be totp, phone, or webauthn")
    config = backend.config
    if not {"totp": config.totp_enroll, "phone": config.phone_enroll}.get(kind, False):
        raise Failure(422, f"mfa_{kind}_enroll_not_enabled", f"MFA enroll is disabled for {NAMES[kind]}")
    phone = _number(given) if kind == "phone" else None
    secret = None if kind == "phone" else pyotp.random_base32(32)
    with backend.auth.transaction() as connection:
        # Committed even when the rest is refused, as in the original.
        factortable.delete_stale(connection, now=backend.clock(), older_than_s=config.factor_exp_s)
    with backend.auth.transaction() as connection:
        _check_room(backend, connection, who, name)
        columns = {"factor_type": kind, "friendly_name": name, "secret": secret, "phone": phone}
        factor_id = factortable.insert(connection, who.user.id, now=backend.clock(), **columns)
    shown = {"id": str(factor_id), "type": kind, "friendly_name": name}
    if secret is None:
        return shown | {"phone": given["phone"]}
    uri = _uri(secret, issuer=given.get("issuer") or urlsplit(config.site_url).netloc, email=who.user.email or "")
    return shown | {"totp": {"qr_code": qr.svg(uri), "secret": secret, "uri": uri}}


def challenge(backend: Backend, call: Call, factor_id: str) -> dict[str, Any]:
    """Answer ``POST /factors/{id}/challenge``; a body is not needed.

    Raises:
        Failure: No such factor of this user, or its type is off.
    """
    who = _member(backend, call)
    now = backend.clock()
    with backend.auth.transaction() as connection:
        factor = known(connection, who.user.id, factor_id)
        backend.limits.demand("challenge", call.limited_as)
        _demand_verifiable(backend, factor)
        challenge_id = factortable.add_challenge(connection, factor.id, address=call.address, now=now)
    expires = int(now + backend.config.factor_exp_s)
    return {"id": str(challenge_id), "type": factor.factor_type, "expires_at": expires}


def verify(backend: Backend, call: Call, factor_id: str) -> dict[str, Any]:
    """Answer ``POST /factors/{id}/verify``: the same session, worth aal2, with new tokens.

    Raises:
        Failure: No such factor or challenge, another address, too late, or a wrong code.
    """
    who = _member(backend, call)
    with backend.auth.transaction() as connection:
        factor = known(connection, who.user.id, factor_id)
    backend.limits.demand("factor", call.limited_as)
    given = params.read(call.body, struct="VerifyFactorParams", fields={"challenge_id": str, "code": str})
    challenge_id = _challenge_id(given.get("challenge_id", ""))
    if not given.get("code"):
        raise Failure(400, "validation_failed", "Code needs to be non-empty")
    _demand_verifiable(backend, factor)
    _check_challenge(backend, call, factor, challenge_id)
    now = backend.clock()
    if not _is_right(factor.secret or "", given["code"], now=now):
        raise Failure(422, "mfa_verification_failed", "Invalid TOTP code entered")
    assert who.session_id is not None
    with backend.auth.transaction() as connection:
        factortable.close_challenge(connection, challenge_id, now=now)
        if not factor.is_verified:
            factortable.update(connection, factor.id, now=now, status="verified")
        answer = sessions.step_up(backend, connection, call, who.session_id, factor_id=factor.id)
        factortable.delete_unverified(connection, who.user.id, factor.factor_type)
    return answer


def unenrol(backend: Backend, call: Call, factor_id: str) -> dict[str, Any]:
    """Answer ``DELETE /factors/{id}``.

    Raises:
        Failure: No such factor of this user, or it is in use and the session has one factor only.
    """
    who = _member(backend, call)
    with backend.auth.transaction() as connection:
        factor = known(connection, who.user.id, factor_id)
        if factor.is_verified and not is_strong(connection, who):
            raise Failure(422, "insufficient_aal", "AAL2 required to unenroll verified factor")
        factortable.delete(connection, factor.id)
    return {"id": str(factor.id)}


def known(connection: psycopg.Connection, user_id: uuid.UUID, factor_id: str) -> Factor:
    """Return a user's factor by what the path says.

    Raises:
        Failure: That is no id, or there is no such factor.
    """
    try:
        wanted = uuid.UUID(factor_id)
    except ValueError:
        raise Failure(404, "validation_failed", "factor_id must be an UUID") from None
    factor = factortable.find(connection, user_id, wanted)
    if factor is None:
        raise Failure(404, "mfa_factor_not_found", "Factor not found")
    return factor


def is_strong(connection: psycopg.Connection, who: bearer.Bearer) -> bool:
    """Tell whether the session of *who* is worth aal2."""
    session = sessions.find(connection, who.session_id) if who.session_id else None
    return session is not None and session.aal == "aal2"


def _member(backend: Backend, call: Call) -> bearer.Bearer:
    who = bearer.user(backend, call)
    if who.claims.get("is_anonymous"):
        raise Failure(403, "no_authorization", "Anonymous user not allowed to perform these actions")
    return who


def _check_room(backend: Backend, connection: psycopg.Connection, who: bearer.Bearer, name: str) -> None:
    factors = factortable.of_user(connection, who.user.id)
    if any((factor.friendly_name or "") == name for factor in factors):
        text = f'A factor with the friendly name "{name}" for this user already exists'
        raise Failure(422, "mfa_factor_name_conflict", text)
    if len(factors) >= backend.config.max_factors:
        text = "Maximum number of verified factors reached, unenroll to continue"
        raise Failure(422, "too_many_enrolled_mfa_factors", text)
    if any(factor.is_verified for factor in factors) and not is_strong(connection, who):
        raise Failure(403, "insufficient_aal", "AAL2 required to enroll a new factor")


def _demand_verifiable(backend: Backend, factor: Factor) -> None:
    kind = factor.factor_type
    if kind != "totp" or not backend.config.totp_verify:
        raise Failure(422, f"mfa_{kind}_verify_not_enabled", f"MFA verification is disabled for {NAMES[kind]}")


def _check_challenge(backend: Backend, call: Call, factor: Factor, challenge_id: uuid.UUID) -> None:
    with backend.auth.transaction() as connection:
        found = factortable.challenge(connection, factor.id, challenge_id)
        if found is None:
            text = "MFA factor with the provided challenge ID not found"
            raise Failure(422, "mfa_factor_not_found", text)
        if found.verified_at is not None or found.ip_address != call.address:
            raise Failure(422, "mfa_ip_address_mismatch", "Challenge and verify IP addresses mismatch.")
        lifetime = timedelta(seconds=backend.config.factor_exp_s)
        if timestamps.moment(backend.clock()) <= found.created_at + lifetime:
            return
        factortable.delete_challenge(connection, challenge_id)
    again = "verify against another challenge or create a new challenge."
    raise Failure(422, "mfa_challenge_expired", f"MFA challenge {challenge_id} has expired, {again}")


def _is_right(secret: str, code: str, *, now: float) -> bool:
    totp = pyotp.TOTP(secret)
    return any(totp.at(int(now), counter_offset=shift) == code for shift in range(-SKEW_PERIODS, SKEW_PERIODS + 1))


def _challenge_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise params.bad_json(f'uuid: incorrect UUID length {len(text)} in string "{text}"') from None


def _number(given: Mapping[str, Any]) -> str:
    if not given.get("phone"):
        raise Failure(400, "validation_failed", "Phone number required to enroll Phone factor")
    return phone_numbers.checked(given["phone"])


def _uri(secret: str, *, issuer: str, email: str) -> str:
    shown = quote(issuer, safe="")
    parameters = f"algorithm=SHA1&digits=6&issuer={shown}&period=30&secret={secret}"
    return f"otpauth://totp/{shown}:{quote(email, safe='@+')}?{parameters}"
