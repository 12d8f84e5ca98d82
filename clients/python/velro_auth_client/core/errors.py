"""The errors of this service, independent of HTTP.

``upstream/translate.py`` maps Supabase's answers to these classes, ``web/problems.py`` maps them to HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Told:
    """What Supabase said when it refused a call.

    Attributes:
        status: The status of its answer.
        code: Its error code.
        message: Its text, in English.
        weak_password: Why a password is too weak; None for other refusals.
    """

    status: int
    code: str
    message: str
    weak_password: Mapping[str, Any] | None = None


class VelroAuthError(Exception):
    """The base class of all errors that this service raises on purpose.

    Attributes:
        reason: What happened, for the log. Never shown to a client, never a secret.
        retry_after_s: When another attempt makes sense, in seconds; None for the value of the table.
        members: Further members of the response, such as a ticket for the next attempt. Shown to the client.
        told: What Supabase said, if it refused. Only ``/auth/v1`` may show it, and not for every error.
    """

    def __init__(self, reason: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.members: Mapping[str, Any] = {}
        self.told: Told | None = None


class RequestError(VelroAuthError):
    """The request itself is wrong; Supabase was not asked."""


class BadJson(RequestError):
    """The body is not one well-formed JSON object."""


class InvalidRequest(RequestError):
    """A field is missing or wrong.

    Attributes:
        fields: Field → what is wrong with it. Never the value.
    """

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        super().__init__("invalid fields: " + ", ".join(sorted(fields)))
        self.fields = fields


class WeakPassword(InvalidRequest):
    """Supabase does not accept the new password."""


class SamePassword(InvalidRequest):
    """The new password is the old one."""


class AlreadyRegistered(RequestError):
    """The address has an account, in a project that confirms by itself and so cannot hide it."""


class TooLarge(RequestError):
    """The body is larger than this route accepts."""


class UnsupportedMediaType(RequestError):
    """The body is not ``application/json``."""


class BadParameter(RequestError):
    """A query parameter, or a requirement of a gateway, is unknown or has a wrong value.

    Attributes:
        advice: What to do; may be shown to the client. Never the value. Empty for the text of the table.
    """

    def __init__(self, advice: str = "") -> None:
        super().__init__(advice)
        self.advice = advice


class UnsupportedCoding(UnsupportedMediaType):
    """The body is compressed (``Content-Encoding``)."""


class RequestTimeout(RequestError):
    """The request did not arrive in time."""


class UriTooLong(RequestError):
    """The request line is longer than the server accepts."""


class HeadersTooLarge(RequestError):
    """A header field is larger than the server accepts, or there are too many."""


class ExpectationFailed(RequestError):
    """``Expect`` is not ``100-continue``."""


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
    """Supabase requires a captcha, or refused it."""


class PassedOn(RequestError):
    """Supabase refused a call of one of its own clients; ``told`` says why."""


class AuthError(VelroAuthError):
    """The credentials or the token were checked and refused."""


class InvalidCredentials(AuthError):
    """Wrong password, unknown user, banned user or no password set: the same response for all."""


class EmailNotConfirmed(AuthError):
    """The password was right, the address is not confirmed yet."""


class ClientKeyRefused(AuthError):
    """The API key of a Supabase client is missing, unknown or secret; ``members`` has a ``hint``."""


class TokenError(AuthError):
    """A good bearer token is needed."""


class TokenMissing(TokenError):
    """No bearer token was sent."""


class TokenInvalid(TokenError):
    """The token was checked and refused."""


class SessionGone(TokenInvalid):
    """Supabase knows the token, but its session or user is gone, or the user is banned."""


class TokenExpired(TokenError):
    """The token has expired."""


class SessionExpired(AuthError):
    """The refresh token is unknown, used or expired, or its session is gone: log in again."""


class SessionRefused(SessionExpired):
    """Supabase did not refresh the session, but may do so later: a hook refused, or the user is banned."""


class LinkInvalid(AuthError):
    """A mailed link or code, or an authorization code, is wrong, used or expired."""


class CodeInvalid(AuthError):
    """The code of a second factor is wrong, used or expired."""


class Forbidden(VelroAuthError):
    """A good token without the required role."""


class InsufficientAal(Forbidden):
    """A good token below the required authenticator assurance level."""


class ReauthenticationNeeded(Forbidden):
    """The last proof of who the user is was too long ago for this change."""


class NotEnabled(Forbidden):
    """The project does not allow this."""


class CrossSite(Forbidden):
    """A page of another site sent this request, or may have sent it, and the browser added its session cookie."""


class Throttled(VelroAuthError):
    """Too many attempts: our own limit."""


class ChallengeRequired(Throttled):
    """Others used up a limit; a solved challenge allows one attempt.

    Attributes:
        challenge: The challenge, as JSON values.
    """

    def __init__(self, reason: str, *, challenge: Mapping[str, Any], retry_after_s: float) -> None:
        super().__init__(reason, retry_after_s=retry_after_s)
        self.challenge = challenge


class UpstreamThrottled(VelroAuthError):
    """Supabase's rate limit is reached. This is not an outage."""


class UpstreamError(VelroAuthError):
    """Supabase could not be asked, or gave no usable answer.

    Attributes:
        is_outage: Whether the circuit breaker counts this as a failure. A 4xx answer never is one.
    """

    is_outage: ClassVar[bool] = True


class UpstreamUnavailable(UpstreamError):
    """Supabase could not be reached, or a proxy in front of it answered instead."""


class UpstreamTimeout(UpstreamError):
    """Supabase did not answer within the deadline."""


class UpstreamFailed(UpstreamError):
    """Supabase answered that it failed (5xx), or with something that cannot be used."""


class WrongAnswer(UpstreamFailed):
    """Supabase's answer is about another user than the request."""


class UpstreamRefused(UpstreamError):
    """Supabase refused with an unknown 4xx."""

    is_outage: ClassVar[bool] = False


class MailRefused(UpstreamError):
    """Supabase sent no mail: too soon after the last one, over its limit, or not to this address.

    It says so only where it would have sent one, so a client that saw this would learn who has an account.
    """

    is_outage: ClassVar[bool] = False


class UpstreamMisconfigured(UpstreamError):
    """Our key, address or project setting is wrong; the client cannot fix it."""

    is_outage: ClassVar[bool] = False


class Unready(VelroAuthError):
    """This process cannot handle such a request at the moment."""


class CircuitOpen(Unready):
    """The circuit breaker is open."""


class Busy(Unready):
    """All permits for logins are in use."""


class Stopping(Unready):
    """The process is stopping."""
