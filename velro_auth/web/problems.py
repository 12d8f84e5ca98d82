"""The table error → HTTP, and the one shape of every error response (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response

from velro_auth import errors
from velro_auth.context import RequestContext
from velro_auth.guards.limits import whole_seconds

logger = logging.getLogger("velro_auth.web.problems")

REALM: Final = 'Bearer realm="velro-auth"'


@dataclass(frozen=True, slots=True)
class ProblemResponse:
    """One row of the table.

    Attributes:
        status: The HTTP status.
        code: Stable code for programs.
        detail: Text that may be shown to a person.
        retry_after_s: ``Retry-After`` when the error has none of its own; None for no header.
    """

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None


#: Error → response. The nearest ancestor wins, so a family needs one row.
ANSWERS: Final[Mapping[type[Exception], ProblemResponse]] = {
    errors.BadJson: ProblemResponse(400, "bad_json", "The body must be one well-formed JSON object."),
    errors.BadParameter: ProblemResponse(400, "bad_parameter", "A parameter is unknown or wrong."),
    errors.CaptchaRequired: ProblemResponse(400, "captcha_required", "Solve the captcha and try again."),
    errors.AuthError: ProblemResponse(401, "unauthorized", "Authentication failed"),
    errors.InvalidCredentials: ProblemResponse(401, "invalid_credentials", "Authentication failed"),
    errors.EmailNotConfirmed: ProblemResponse(401, "email_not_confirmed", "Confirm your address first."),
    errors.TokenError: ProblemResponse(401, "token_invalid", "The token is not valid."),
    errors.TokenMissing: ProblemResponse(401, "token_missing", "Send a bearer token in the Authorization header."),
    errors.TokenInvalid: ProblemResponse(401, "token_invalid", "The token is not valid."),
    errors.TokenExpired: ProblemResponse(401, "token_expired", "The token has expired."),
    errors.SessionExpired: ProblemResponse(401, "session_expired", "The session has ended. Log in again."),
    errors.LinkInvalid: ProblemResponse(
        401, "link_invalid", "The link or code is wrong, was used before, or has expired. Ask for a new one."
    ),
    errors.CodeInvalid: ProblemResponse(401, "code_invalid", "The code is wrong or has expired. Try the next one."),
    errors.Forbidden: ProblemResponse(403, "forbidden", "This account may not do that."),
    errors.InsufficientAal: ProblemResponse(403, "insufficient_aal", "A second factor is needed."),
    errors.ReauthenticationNeeded: ProblemResponse(
        403, "reauthentication_needed", "Send the current password too, or log in again."
    ),
    errors.NotEnabled: ProblemResponse(403, "not_enabled", "This is not switched on for this project."),
    errors.CrossSite: ProblemResponse(403, "cross_site", "This request has to come from a page of this service."),
    errors.NotFound: ProblemResponse(404, "not_found", "There is nothing here."),
    errors.MethodNotAllowed: ProblemResponse(405, "method_not_allowed", "This route does not take this method."),
    errors.AlreadyRegistered: ProblemResponse(409, "already_registered", "This address has an account. Log in."),
    errors.TooLarge: ProblemResponse(413, "too_large", "The body is too large."),
    errors.UnsupportedMediaType: ProblemResponse(
        415, "unsupported_media_type", "Send the body as Content-Type: application/json."
    ),
    errors.UnsupportedCoding: ProblemResponse(
        415, "unsupported_media_type", "Send the body uncompressed, without Content-Encoding."
    ),
    errors.RequestTimeout: ProblemResponse(
        408, "request_timeout", "The request did not arrive in time. Send it again."
    ),
    errors.UriTooLong: ProblemResponse(414, "uri_too_long", "The address is too long."),
    errors.ExpectationFailed: ProblemResponse(417, "expectation_failed", "Send no Expect header but 100-continue."),
    errors.HeadersTooLarge: ProblemResponse(
        431,
        "headers_too_large",
        "The headers are too large: Authorization and Cookie may have 16 KiB each, others 8 KiB; 64 fields in all.",
    ),
    errors.CodingNotImplemented: ProblemResponse(
        501, "not_implemented", "Send Transfer-Encoding: chunked, or Content-Length."
    ),
    errors.InvalidRequest: ProblemResponse(422, "invalid_request", "A field is missing or wrong."),
    errors.WeakPassword: ProblemResponse(422, "weak_password", "The password is too weak. Choose another one."),
    errors.SamePassword: ProblemResponse(422, "same_password", "The new password is the old one. Choose another one."),
    errors.RequestError: ProblemResponse(400, "bad_request", "The request cannot be understood."),
    errors.Throttled: ProblemResponse(429, "too_many_attempts", "Too many attempts. Wait a little.", 30),
    errors.ChallengeRequired: ProblemResponse(
        429, "challenge_required", "Too many attempts by others. Solve the challenge and try again, or wait.", 30
    ),
    errors.UpstreamThrottled: ProblemResponse(429, "upstream_throttled", "Too many requests. Wait a little.", 5),
    errors.UpstreamError: ProblemResponse(503, "upstream_error", "The authentication server failed. Try again.", 5),
    errors.UpstreamUnavailable: ProblemResponse(
        503, "upstream_unavailable", "The authentication server cannot be reached. Try again.", 5
    ),
    errors.UpstreamTimeout: ProblemResponse(
        503, "upstream_timeout", "The authentication server is too slow. Try again.", 5
    ),
    errors.UpstreamMisconfigured: ProblemResponse(
        503, "upstream_misconfigured", "This service is not set up correctly. Tell its operator.", 60
    ),
    errors.Unready: ProblemResponse(503, "busy", "Too many requests at once. Try again.", 1),
    errors.CircuitOpen: ProblemResponse(503, "resting", "The authentication server is recovering. Try again.", 5),
    errors.Busy: ProblemResponse(503, "busy", "Too many requests at once. Try again.", 1),
    errors.Stopping: ProblemResponse(503, "stopping", "This instance is stopping. Try again.", 1),
    Exception: ProblemResponse(500, "internal_error", "Something went wrong here. It has been logged."),
}

#: Names of RFC 9110. Those of ``http.HTTPStatus`` change between Python versions.
TITLES: Final[Mapping[int, str]] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}

#: Why Supabase may find a password too weak.
WEAK_REASONS: Final = ("length", "characters", "pwned")

_UNAUTHORIZED: Final = 401
_RETRYABLE: Final = frozenset({429, 503})


def answer_for(error: Exception) -> ProblemResponse:
    """Return the row of the nearest ancestor of *error*."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def record(error: Exception, environ: Mapping[str, Any]) -> ProblemResponse:
    """Record the code and the reason of *error* for the access log; return its row.

    An error that is not a :class:`VelroAuthError` is a defect. It is logged with its traceback, and keeps it: a log
    handler may read it later. No other error needs its traceback any more: see :func:`forget_frames`.
    """
    answer, context = answer_for(error), RequestContext.of(environ)
    context.outcome = answer.code
    if isinstance(error, errors.VelroAuthError):
        if error.reason:
            context.log_fields["reason"] = error.reason[:200]
        forget_frames(error)
    else:
        logger.error("unexpected error", exc_info=error, extra={"request_id": context.request_id})
    return answer


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of *error* and of the errors that led to it.

    A traceback holds each frame that it passed, and their callers, with the request, its password and its token. Where
    one of these frames holds the error, all of that stays in memory until a garbage collection: 75 to 140 objects a
    request, counted over the requests of ``tests/http/test_parity.py``.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += (one.__cause__, one.__context__)


def respond(error: Exception, environ: Mapping[str, Any]) -> Response:
    """Return the response for *error*, after :func:`record`."""
    answer = record(error, environ)
    body = {
        "type": "about:blank",
        "title": TITLES[answer.status],
        "status": answer.status,
        # The name that clients of FastAPI know.
        "status_code": answer.status,
        "code": answer.code,
        "detail": _detail(error, answer),
        "request_id": RequestContext.of(environ).request_id,
    }
    if isinstance(error, errors.VelroAuthError):
        body.update(error.members)
    if isinstance(error, errors.InvalidRequest):
        body["errors"] = error.fields
    if isinstance(error, errors.WeakPassword) and (reasons := _reasons(error)):
        body["reasons"] = reasons
    if isinstance(error, errors.ChallengeRequired):
        body["challenge"] = error.challenge
    return Response(json.dumps(body), status=answer.status, headers=_headers(error, answer, environ))


def _reasons(error: errors.WeakPassword) -> list[str]:
    """Return why a password is too weak, as far as Supabase says it in words that are known."""
    given = (error.told.weak_password or {}).get("reasons") if error.told else None
    return [reason for reason in WEAK_REASONS if reason in given] if isinstance(given, list) else []


def _detail(error: Exception, answer: ProblemResponse) -> str:
    if isinstance(error, errors.MethodNotAllowed) and "GET" not in error.allowed:
        # Platforms redirect a POST over plain http; it then arrives as GET.
        methods = ", ".join(method for method in error.allowed if method != "OPTIONS")
        return f"This route takes {methods}. If you sent that, use https."
    if isinstance(error, errors.BadParameter):
        return error.advice or answer.detail
    return answer.detail


def _headers(error: Exception, answer: ProblemResponse, environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    headers = [("Content-Type", _media_type(environ)), ("Cache-Control", "no-store")]
    if answer.status == _UNAUTHORIZED:
        is_sent = isinstance(error, errors.TokenInvalid | errors.TokenExpired)
        headers.append(("WWW-Authenticate", REALM + (', error="invalid_token"' if is_sent else "")))
    retry_after_s = getattr(error, "retry_after_s", None) or answer.retry_after_s
    if retry_after_s is not None and answer.status in _RETRYABLE:
        headers.append(("Retry-After", str(max(1, whole_seconds(retry_after_s)))))
    if isinstance(error, errors.MethodNotAllowed):
        headers.append(("Allow", ", ".join(error.allowed)))
    return headers


def _media_type(environ: Mapping[str, Any]) -> str:
    """Return ``application/problem+json`` only if ``Accept`` names it: many clients parse ``application/json`` only."""
    accept = environ.get("HTTP_ACCEPT", "")
    is_named = "problem+json" in accept and any(
        value.lower() == "application/problem+json" and quality > 0 for value, quality in parse_accept_header(accept)
    )
    return "application/problem+json" if is_named else "application/json"
