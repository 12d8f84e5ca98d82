"""The table our error → Supabase's error, in both of its formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from velro_auth import errors
from velro_auth.endpoints.bodies import NO_STORE, RawResponse, json_bytes
from velro_auth.errors import Told
from velro_auth.guards.limits import whole_seconds
from velro_auth.web import problems

#: Since this version errors have the new format (contract of Supabase Auth's surface, section 1).
NEW_FORMAT: Final = "2024-01-01"

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_LIMIT: Final = "over_request_rate_limit"
_FAILED: Final = "unexpected_failure"
_EXPIRED: Final = "Token has expired or is invalid"


@dataclass(frozen=True, slots=True)
class Row:
    """What an error looks like to a client of Supabase.

    Attributes:
        status: The HTTP status.
        code: Supabase's error code.
        message: Its text.
        shows_told: Whether Supabase's own words come first, where it was Supabase that refused.
    """

    status: int
    code: str
    message: str
    shows_told: bool = True


#: Error → row. The nearest ancestor wins.
TABLE: Final[Mapping[type[Exception], Row]] = {
    errors.RequestError: Row(400, "validation_failed", "The request cannot be understood"),
    errors.BadJson: Row(400, "bad_json", "Could not parse request body as JSON"),
    errors.InvalidRequest: Row(400, "validation_failed", "A field is missing or wrong"),
    # Not 408: clients end the session after a refresh that gets a 4xx, and try again after a 503.
    errors.RequestTimeout: Row(503, "request_timeout", "The request did not arrive in time. Send it again."),
    errors.UriTooLong: Row(414, "uri_too_long", "The address is too long"),
    errors.HeadersTooLarge: Row(431, "headers_too_large", "The headers are too large"),
    errors.TooLarge: Row(413, "request_entity_too_large", "Request body too large"),
    errors.NotFound: Row(404, "not_found", "There is no such route here"),
    errors.MethodNotAllowed: Row(405, "method_not_allowed", "Method not allowed"),
    errors.CaptchaRequired: Row(400, "captcha_failed", "captcha protection: request disallowed"),
    errors.AlreadyRegistered: Row(422, "user_already_exists", "User already registered"),
    errors.WeakPassword: Row(422, "weak_password", "Password is too weak"),
    errors.SamePassword: Row(422, "same_password", "New password should be different from the old password."),
    errors.AuthError: Row(401, "invalid_api_key", "Invalid API key"),
    # Never Supabase's words: it says "banned" before it looks at the password.
    errors.InvalidCredentials: Row(400, "invalid_credentials", "Invalid login credentials", shows_told=False),
    errors.EmailNotConfirmed: Row(400, "email_not_confirmed", "Email not confirmed"),
    errors.TokenMissing: Row(401, "no_authorization", "This endpoint requires a valid Bearer token"),
    errors.TokenError: Row(403, "bad_jwt", "invalid JWT: unable to parse or verify signature"),
    errors.SessionGone: Row(403, "session_not_found", "Session from session_id claim in JWT does not exist"),
    errors.SessionExpired: Row(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"),
    errors.LinkInvalid: Row(403, "otp_expired", _EXPIRED),
    errors.CodeInvalid: Row(422, "mfa_verification_failed", "Invalid TOTP code entered"),
    errors.Forbidden: Row(403, "not_admin", "This is not allowed"),
    errors.InsufficientAal: Row(401, "insufficient_aal", "AAL2 session is required"),
    errors.ReauthenticationNeeded: Row(
        400, "reauthentication_needed", "This change requires a recent sign-in or the current password"
    ),
    errors.NotEnabled: Row(422, "feature_disabled", "This is not enabled for the project"),
    errors.Throttled: Row(429, _LIMIT, "Request rate limit reached", shows_told=False),
    errors.UpstreamThrottled: Row(429, _LIMIT, "Request rate limit reached", shows_told=False),
    errors.UpstreamError: Row(503, _FAILED, "The authentication server failed. Try again.", shows_told=False),
    errors.UpstreamRefused: Row(503, _FAILED, "The authentication server refused the request"),
    errors.UpstreamTimeout: Row(503, "request_timeout", "The authentication server is too slow", shows_told=False),
    errors.Unready: Row(503, _FAILED, "Too many requests at once. Try again.", shows_told=False),
    Exception: Row(500, _FAILED, "Unexpected failure, please check server logs for more information"),
}

#: Refusals of a project that has logins of this kind switched off. Other such refusals are about our key.
_SWITCHED_OFF: Final = frozenset({"email_provider_disabled", "phone_provider_disabled"})

#: Members of our errors that the body has too.
_SHOWN_MEMBERS: Final = frozenset({"hint", "message"})

_TOO_MANY: Final = 429
_UNREADY: Final = 503
_REFUSED: Final = range(400, 500)


def is_new_format(version: str | None) -> bool:
    """Return whether a client that sent this ``X-Supabase-Api-Version`` wants the format of 2024."""
    return version is not None and _DATE.fullmatch(version) is not None and version >= NEW_FORMAT


def refuse(error: Exception, environ: Mapping[str, Any], *, never_429: bool) -> RawResponse:
    """Return the answer to a request that failed, and record its outcome for log, metrics and audit.

    Args:
        error: What went wrong; anything but our own errors is a defect, and logged.
        environ: The request.
        never_429: Whether a limit is answered with 503. supabase-js ends the session when a refresh gets a 429.
    """
    problems.record(error, environ)
    said = _said(error)
    if said.status == _TOO_MANY and never_429:
        said = Told(_UNREADY, said.code, said.message)
    return _answer(error, said, environ)


def _said(error: Exception) -> Told:
    """Return what the client is told: Supabase's words where it may see them, else those of the table."""
    row = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    told: Told | None = getattr(error, "told", None)
    if told is not None and told.status in _REFUSED and (row.shows_told or told.code in _SWITCHED_OFF):
        return told
    return Told(row.status, row.code, row.message)


def _answer(error: Exception, said: Told, environ: Mapping[str, Any]) -> RawResponse:
    is_new = is_new_format(environ.get("HTTP_X_SUPABASE_API_VERSION"))
    body: dict[str, Any] = (
        {"code": said.code, "message": said.message}
        if is_new
        else {"code": said.status, "error_code": said.code, "msg": said.message}
    )
    if said.weak_password is not None:
        body["weak_password"] = said.weak_password
    body |= {name: value for name, value in getattr(error, "members", {}).items() if name in _SHOWN_MEMBERS}
    headers = [("Content-Type", "application/json"), NO_STORE, ("x-sb-error-code", said.code)]
    if is_new:
        headers.append(("X-Supabase-Api-Version", NEW_FORMAT))
    if said.status in {_TOO_MANY, _UNREADY}:
        headers.append(("Retry-After", str(_retry_after_s(error))))
    if isinstance(error, errors.MethodNotAllowed):
        headers.append(("Allow", ", ".join(error.allowed)))
    return RawResponse(json_bytes(body), headers, status_line(said.status))


def _retry_after_s(error: Exception) -> int:
    wait_s = getattr(error, "retry_after_s", None) or problems.answer_for(error).retry_after_s or 1
    return max(1, whole_seconds(wait_s))


def status_line(status: int) -> str:
    """Return code and reason of a status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Refused"
