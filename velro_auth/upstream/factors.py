"""Supabase Auth's routes of second factors. Ids of factors and challenges must be UUIDs: they become part of a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from velro_auth import errors
from velro_auth.auth.factors import Enrolment, Factor, FactorChallenge, NewFactor, factor_of
from velro_auth.auth.models import Session
from velro_auth.context import RequestContext
from velro_auth.upstream import translate
from velro_auth.upstream.answers import claims_of, date_s, demand, is_text, json_object, session_from, user_of
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.transport.transport import Reply

_FACTOR_CODES: Final[translate.Codes] = {
    **translate.BEARER.codes,
    "mfa_factor_not_found": errors.NotFound,
    # The id of the factor; ours are UUIDs, so this is not reached.
    "validation_failed": errors.NotFound,
    "mfa_totp_enroll_not_enabled": errors.NotEnabled,
    "mfa_totp_verify_not_enabled": errors.NotEnabled,
    "mfa_phone_verify_not_enabled": errors.NotEnabled,
    "mfa_webauthn_verify_not_enabled": errors.NotEnabled,
    # Three statuses (401, 403, 422), one meaning.
    "insufficient_aal": errors.InsufficientAal,
}

#: ``POST /factors``.
ENROL: Final = translate.Question(
    codes={
        **_FACTOR_CODES,
        "mfa_factor_name_conflict": errors.InvalidRequest,
        "too_many_enrolled_mfa_factors": errors.InvalidRequest,
        "validation_failed": errors.InvalidRequest,
        # Supabase's word for anonymous users here.
        "no_authorization": errors.NotEnabled,
    },
    refused=errors.UpstreamRefused,
    fields={
        "mfa_factor_name_conflict": ("friendly_name", "Another factor has this name. The empty name counts as one."),
        "too_many_enrolled_mfa_factors": ("type", "There are too many factors. Remove one first."),
        "validation_failed": ("type", "The authentication server does not accept this factor."),
    },
)

#: ``POST /factors/{id}/challenge`` and ``DELETE /factors/{id}``.
FACTOR: Final = translate.Question(codes=_FACTOR_CODES, refused=errors.UpstreamRefused)

#: ``POST /factors/{id}/verify``.
VERIFY: Final = translate.Question(
    codes={
        **_FACTOR_CODES,
        "mfa_verification_failed": errors.CodeInvalid,
        "mfa_verification_rejected": errors.CodeInvalid,
        "mfa_challenge_expired": errors.CodeInvalid,
        # Also: the challenge was used already.
        "mfa_ip_address_mismatch": errors.CodeInvalid,
        "validation_failed": errors.CodeInvalid,
    },
    refused=errors.CodeInvalid,
)


class SupabaseFactors:
    """Asks Supabase Auth about second factors; see ``auth.factors.FactorCalls``."""

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        self._user = calls.prepare("GET", "/user")
        self._enrol = calls.prepare("POST", "/factors")

    def all(self, access_token: str, context: RequestContext) -> Sequence[Factor]:
        """Return the factors of the user."""

        def read(reply: Reply) -> list[Factor]:
            factors = user_of(access_token, reply).get("factors")
            given = [one for one in factors if isinstance(one, dict)] if isinstance(factors, list) else []
            return [factor for one in given if (factor := factor_of(one)) is not None]

        return self._calls.ask(self._user, context, translate.BEARER, read, bearer=access_token)

    def enrol(self, access_token: str, wanted: NewFactor, context: RequestContext) -> Enrolment:
        """Enrol an authenticator."""
        body: dict[str, Any] = {"factor_type": "totp"}
        if wanted.friendly_name is not None:
            body["friendly_name"] = wanted.friendly_name
        if wanted.issuer is not None:
            body["issuer"] = wanted.issuer
        return self._calls.ask(self._enrol, context, ENROL, _enrolment, body=body, bearer=access_token)

    def challenge(self, access_token: str, factor_id: str, context: RequestContext) -> FactorChallenge:
        """Begin a proof."""
        request = self._calls.prepare("POST", f"/factors/{factor_id}/challenge")
        return self._calls.ask(request, context, FACTOR, _challenge, body={}, bearer=access_token)

    def verify(
        self, access_token: str, factor_id: str, challenge_id: str, code: str, context: RequestContext
    ) -> tuple[Session, float | None]:
        """Return the session, at ``aal2``, and when it stepped up."""
        request = self._calls.prepare("POST", f"/factors/{factor_id}/verify")
        own = claims_of(access_token)

        def read(reply: Reply) -> tuple[Session, float | None]:
            session = session_from(reply)
            demand(is_right=session.user.id == own.get("sub"), what="the subject of the token")
            same = claims_of(session.access_token).get("session_id") == own.get("session_id")
            demand(is_right=same, what="the session of the token")
            return session, date_s(reply)

        body = {"challenge_id": challenge_id, "code": code}
        session, at_s = self._calls.ask(request, context, VERIFY, read, body=body, bearer=access_token)
        self._calls.owners.note(session.refresh_token, session.user.id)
        return session, at_s

    def remove(self, access_token: str, factor_id: str, context: RequestContext) -> None:
        """Remove a factor."""
        request = self._calls.prepare("DELETE", f"/factors/{factor_id}")

        def read(reply: Reply) -> None:
            demand(is_right=json_object(reply).get("id") == factor_id, what="the id of the factor")

        self._calls.ask(request, context, FACTOR, read, bearer=access_token)


def _enrolment(reply: Reply) -> Enrolment:
    body = json_object(reply)
    totp = body.get("totp")
    qr_code, secret, uri = (totp.get(name) if isinstance(totp, dict) else None for name in ("qr_code", "secret", "uri"))
    if not is_text(body.get("id")) or not is_text(qr_code) or not is_text(secret) or not is_text(uri):
        raise errors.UpstreamFailed("200 without a factor")
    name = body.get("friendly_name")
    return Enrolment(
        id=body["id"],
        friendly_name=name if is_text(name) else None,
        qr_code=qr_code,
        secret=secret,
        uri=uri,
        raw=body,
    )


def _challenge(reply: Reply) -> FactorChallenge:
    body = json_object(reply)
    expires_at = body.get("expires_at")
    if not is_text(body.get("id")) or not isinstance(expires_at, int):
        raise errors.UpstreamFailed("200 without a challenge")
    kind = body.get("type")
    return FactorChallenge(id=body["id"], type=kind if is_text(kind) else "totp", expires_at=expires_at, raw=body)
