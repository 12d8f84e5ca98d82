"""What can go wrong, in our words; no HTTP.

Two tables know these classes: ``upstream/translate.py`` turns Supabase's answers into them, ``problems.py``
turns them into HTTP. The nearest ancestor decides, so a new leaf needs a row only where it differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class VelroAuthError(Exception):
    """The root of everything this service raises on purpose.

    Attributes:
        reason: What happened, for the log; never shown to a client and never a secret.
        retry_after_s: When trying again makes sense, in seconds; None leaves it to the table of answers.
    """

    def __init__(self, reason: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class RequestError(VelroAuthError):
    """The request itself is at fault; nothing was asked of anybody."""


class BadJson(RequestError):
    """The body is not one well-formed JSON object."""


class InvalidRequest(RequestError):
    """A field is missing or wrong.

    Attributes:
        fields: Field → what is wrong with it. Never a value.
    """

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        super().__init__("invalid fields: " + ", ".join(sorted(fields)))
        self.fields = fields


class TooLarge(RequestError):
    """The body is larger than this route takes."""


class UnsupportedMediaType(RequestError):
    """The body is not ``application/json``."""


class BadParameter(RequestError):
    """A parameter in the address, or a demand of a gateway, is unknown or has a value that it cannot have.

    Attributes:
        advice: What to do, fit to be shown. Never a value. Empty leaves it to the table of answers.
    """

    def __init__(self, advice: str = "") -> None:
        super().__init__(advice)
        self.advice = advice


class UnsupportedCoding(UnsupportedMediaType):
    """The body is compressed (``Content-Encoding``)."""


class RequestTimeout(RequestError):
    """The request did not arrive in time."""


class UriTooLong(RequestError):
    """The request line is longer than the server takes."""


class HeadersTooLarge(RequestError):
    """A header field is larger than the server takes, or there are too many."""


class ExpectationFailed(RequestError):
    """``Expect`` asks for something other than ``100-continue``."""


class CodingNotImplemented(RequestError):
    """``Transfer-Encoding`` names a coding that the server does not know."""


class NotFound(RequestError):
    """There is no such route."""


class MethodNotAllowed(RequestError):
    """The route exists, but not for this method.

    Attributes:
        allowed: The methods it has (RFC 9110, 15.5.6).
    """

    def __init__(self, allowed: Sequence[str], reason: str = "") -> None:
        super().__init__(reason)
        self.allowed = allowed


class CaptchaRequired(RequestError):
    """Supabase demands a captcha, or refused the one that was sent."""


class AuthError(VelroAuthError):
    """Somebody judged the credentials or the token, and said no."""


class InvalidCredentials(AuthError):
    """Wrong password, unknown user, banned user or no password set: one answer for all."""


class EmailNotConfirmed(AuthError):
    """The password was right, the address is not confirmed yet."""


class TokenError(AuthError):
    """A bearer token was needed."""


class TokenMissing(TokenError):
    """No bearer token was sent."""


class TokenInvalid(TokenError):
    """The token was judged and refused."""


class SessionGone(TokenInvalid):
    """Supabase knows the token, but its session or user is gone, or the user is banned."""


class TokenExpired(TokenError):
    """The token was good once."""


class SessionExpired(AuthError):
    """The refresh token is unknown, used or expired, or its session is gone: log in again."""


class SessionRefused(SessionExpired):
    """Supabase did not refresh the session, and a later try may succeed: a hook refused, or the user is banned."""


class Forbidden(VelroAuthError):
    """A good token without the role that was asked for."""


class InsufficientAal(Forbidden):
    """A good token below the authenticator assurance level that was asked for."""


class Throttled(VelroAuthError):
    """Too many attempts: our own limit."""


class ChallengeRequired(Throttled):
    """A limit that others used up is reached; solving the challenge opens it for one try.

    Attributes:
        challenge: What has to be solved, as JSON values.
    """

    def __init__(self, reason: str, *, challenge: Mapping[str, Any], retry_after_s: float) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.challenge = challenge


class UpstreamThrottled(VelroAuthError):
    """Supabase's rate limit. Not an outage: Supabase works."""


class UpstreamError(VelroAuthError):
    """Supabase could not be asked, or gave no usable answer.

    Attributes:
        is_outage: Whether this counts against Supabase's health (the breaker looks here). An answer of class
            4xx never does.
    """

    is_outage: ClassVar[bool] = True


class UpstreamUnavailable(UpstreamError):
    """Supabase could not be reached, or something in front of it answered in its place."""


class UpstreamTimeout(UpstreamError):
    """Supabase did not answer within the deadline."""


class UpstreamFailed(UpstreamError):
    """Supabase answered that it failed (5xx), or with something that cannot be used."""


class WrongAnswer(UpstreamFailed):
    """Supabase's answer belongs to another question: it names another user than the one that was asked about."""


class UpstreamRefused(UpstreamError):
    """Supabase refused for a reason this service does not know (an unknown 4xx)."""

    is_outage: ClassVar[bool] = False


class UpstreamMisconfigured(UpstreamError):
    """Our key, address or project setting is wrong; no caller can help it."""

    is_outage: ClassVar[bool] = False


class Unready(VelroAuthError):
    """This process takes no such request at the moment."""


class CircuitOpen(Unready):
    """The breaker is open: Supabase gets a rest."""


class Busy(Unready):
    """All login slots are taken."""


class Stopping(Unready):
    """The process is draining."""
