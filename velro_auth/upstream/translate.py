"""The one table from Supabase's answers to our errors.

The ``code`` decides, never the status alone or the message: statuses 400 and 422 are interchangeable and messages
change (contract of Supabase Auth, 2.1). A 401 without a code of Supabase Auth comes from the edge in front of it
and means that our key is wrong; it must never look like a wrong password.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from velro_auth import errors
from velro_auth.errors import VelroAuthError
from velro_auth.upstream.answers import NO_JSON, content
from velro_auth.upstream.transport.transport import Reply

logger = logging.getLogger("velro_auth.upstream")

Codes: TypeAlias = Mapping[str, type[VelroAuthError]]

#: Codes that mean the same for every question.
ANYWHERE: Final[Codes] = {
    "captcha_failed": errors.CaptchaRequired,
    "over_request_rate_limit": errors.UpstreamThrottled,
    "over_email_send_rate_limit": errors.UpstreamThrottled,
    "over_sms_send_rate_limit": errors.UpstreamThrottled,
    "email_provider_disabled": errors.UpstreamMisconfigured,
    "phone_provider_disabled": errors.UpstreamMisconfigured,
    "no_authorization": errors.UpstreamMisconfigured,
    "not_admin": errors.UpstreamMisconfigured,
    # OAuth's word for us, not for the user.
    "invalid_client": errors.UpstreamMisconfigured,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, and what the answers to it mean.

    Attributes:
        codes: Error code → our error.
        refused: The error for an unknown code that contains a word of refusal.
        otherwise: The error for any other unknown code.
        successes: The statuses of answers that are no refusals.
        fields: Error code → the field that is wrong, and what to tell about it; for codes that mean an
            :class:`~velro_auth.errors.InvalidRequest`. Without an entry it is the mail address.
    """

    codes: Codes
    refused: type[VelroAuthError]
    otherwise: type[VelroAuthError] = errors.UpstreamRefused
    successes: frozenset[int] = frozenset({200, 204})
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)


#: ``POST /token?grant_type=password``.
PASSWORD_GRANT: Final = Question(
    codes={
        **ANYWHERE,
        "invalid_credentials": errors.InvalidCredentials,
        # Supabase answers this before it checks the password: passing it on would show who has an account.
        "user_banned": errors.InvalidCredentials,
        "user_not_found": errors.InvalidCredentials,
        # Supabase answers this only after the right password.
        "email_not_confirmed": errors.EmailNotConfirmed,
        "phone_not_confirmed": errors.EmailNotConfirmed,
        # The status is a hook's choice, the code says no more than that there was one.
        "unknown": errors.InvalidCredentials,
        "validation_failed": errors.InvalidRequest,
        "email_address_invalid": errors.InvalidRequest,
    },
    refused=errors.InvalidCredentials,
)

#: ``POST /token?grant_type=refresh_token``. After any refusal of the token, the client has to log in again. Only a
#: refusal that Supabase cannot take back is SessionExpired: a ban ends, and a hook may decide otherwise later.
REFRESH_GRANT: Final = Question(
    codes={
        **ANYWHERE,
        "refresh_token_not_found": errors.SessionExpired,
        "refresh_token_already_used": errors.SessionExpired,
        "session_not_found": errors.SessionExpired,
        "session_expired": errors.SessionExpired,
        "user_banned": errors.SessionRefused,
        "user_not_found": errors.SessionExpired,
        # Not of a refresh token's shape, so nothing is said about a session.
        "validation_failed": errors.SessionRefused,
        # A session of Supabase's OAuth server: not ours to refresh.
        "invalid_client": errors.SessionRefused,
        "unknown": errors.SessionRefused,
    },
    refused=errors.SessionRefused,
)

#: ``GET /user`` and ``POST /logout``, with the user's own token. Refusals are 403 there, not 401.
BEARER: Final = Question(
    codes={
        **ANYWHERE,
        "no_authorization": errors.TokenInvalid,
        "bad_jwt": errors.TokenInvalid,
        "session_not_found": errors.SessionGone,
        "session_expired": errors.SessionGone,
        "user_banned": errors.SessionGone,
        "user_not_found": errors.SessionGone,
        # Another audience.
        "validation_failed": errors.TokenInvalid,
    },
    refused=errors.TokenInvalid,
)

#: Codes of ``PUT /user`` with a password.
PASSWORD_CODES: Final[Codes] = {
    **BEARER.codes,
    "weak_password": errors.WeakPassword,
    "same_password": errors.SamePassword,
    "insufficient_aal": errors.InsufficientAal,
    "reauthentication_needed": errors.ReauthenticationNeeded,
    "reauthentication_not_valid": errors.LinkInvalid,
    "current_password_required": errors.ReauthenticationNeeded,
    "current_password_invalid": errors.ReauthenticationNeeded,
    "validation_failed": errors.InvalidRequest,
}

_WRONG_ADDRESS: Final = ("email", "The authentication server does not accept this address.")

_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVER_CLASS: Final = 500

#: Statuses of gateways in front of Supabase Auth: Supabase Auth itself was not reached.
_UNREACHED: Final = frozenset({502, 503, 504, *range(520, 531)})

#: The form of a code.
_CODE: Final = re.compile(r"[A-Za-z0-9_]{1,64}")

#: An unknown code is a refusal of the credentials too when it contains one of these.
_REFUSAL: Final = re.compile(r"invalid|denied|refused|forbidden|banned|blocked|locked|suspended|not_allowed|wrong")


def code_of(reply: Reply, body: Any) -> str | None:
    """Return the error code of an answer in any of Supabase's formats.

    2024: ``{"code": "…"}``; legacy: ``{"code": 400, "error_code": "…"}``; OAuth: ``{"error": "…"}``; and the header
    ``x-sb-error-code``.
    """
    told = body if isinstance(body, dict) else {}
    candidates = (
        told.get("error_code"),
        told.get("code"),
        reply.headers.get("x-sb-error-code"),
        told.get("error"),
    )
    return next((code for code in candidates if isinstance(code, str) and code), None)


def refusal(reply: Reply, question: Question) -> VelroAuthError:
    """Turn an answer that is no success into the error it means."""
    body = content(reply)
    code = code_of(reply, body)
    kind = _kind(reply.status, code, question, has_json=body is not NO_JSON)
    named = _fit_to_be_logged(code)
    reason = f"Supabase answered {reply.status} {named or 'without a code'}"
    if kind is errors.UpstreamRefused:
        logger.warning("unknown refusal", extra={"upstream_status": reply.status, "upstream_code": named})
    if issubclass(kind, errors.InvalidRequest):
        name, text = question.fields.get(code or "", _WRONG_ADDRESS)
        error: VelroAuthError = kind({name: [text]})
    else:
        error = kind(reason, retry_after_s=_retry_after_s(reply))
    if isinstance(body, dict) and code is not None and code == named:
        # It becomes a header field of the answer.
        error.told = _told(reply.status, code, body)
    return error


def _told(status: int, code: str, body: Mapping[str, Any]) -> errors.Told:
    message = next(
        (text for name in ("message", "msg", "error_description") if isinstance(text := body.get(name), str)), ""
    )
    weak = body.get("weak_password")
    return errors.Told(status, code, message, weak if isinstance(weak, dict) else None)


def _fit_to_be_logged(code: str | None) -> str | None:
    """Return *code*, unless it is a text in place of a code: such a text may quote the request."""
    return code if code is None or _CODE.fullmatch(code) else "with a text for a code"


def _kind(status: int, code: str | None, question: Question, *, has_json: bool) -> type[VelroAuthError]:
    if status == _TOO_MANY:
        # If the question is about a mail, a limit of mails is no limit of calls.
        asked = question.codes.get(code or "", errors.UpstreamThrottled)
        return errors.MailRefused if asked is errors.MailRefused else errors.UpstreamThrottled
    if code == "request_timeout":
        return errors.UpstreamTimeout
    if status >= _SERVER_CLASS:
        return errors.UpstreamUnavailable if status in _UNREACHED or not has_json else errors.UpstreamFailed
    if code is None:
        # Redirects, unknown routes and refused keys: the server at this address is not our project's Auth.
        return errors.UpstreamMisconfigured if status in _NOT_OURS else errors.UpstreamUnavailable
    return question.codes.get(code) or _unknown(status, code, question)


def _unknown(status: int, code: str, question: Question) -> type[VelroAuthError]:
    if status == _UNAUTHORIZED:
        # Supabase Auth answers no login with it: this is the edge, and its word for our key ("invalid_api_key").
        return errors.UpstreamMisconfigured
    return question.refused if _REFUSAL.search(code) else question.otherwise


_NOT_OURS: Final = frozenset({301, 302, 303, 307, 308, _UNAUTHORIZED, 404, 405})

_LONGEST_WAIT_S: Final = 300
_SECONDS: Final = re.compile(r"[0-9]{1,16}")


def _retry_after_s(reply: Reply) -> float | None:
    """Read ``Retry-After`` in seconds, kept between 1 and 300; Supabase itself never sends one."""
    value = reply.headers.get("Retry-After", "")
    return float(min(max(int(value), 1), _LONGEST_WAIT_S)) if _SECONDS.fullmatch(value) else None
