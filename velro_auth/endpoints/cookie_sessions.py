"""Cookie sessions: an endpoint as browsers see it, where a cookie keeps the session and no page sees a token.

Each endpoint of the account is wrapped by :class:`CookieEndpoint`, the only place that knows both cookie and token. It
turns the cookie of a request into the bearer token that the endpoint reads, and has ``session_answer`` put a session
into the cookie. With ``AUTH_PAGES`` alone, only the service's own pages get the cookie. With neither setting, no
endpoint is wrapped.
"""

from __future__ import annotations

import functools
import hmac
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.models import Session
from velro_auth.auth.sessions import Sessions
from velro_auth.context import SAME_ANSWER, RequestContext
from velro_auth.endpoints import Around
from velro_auth.endpoints.bodies import is_empty
from velro_auth.endpoints.oauth import CallbackEndpoint
from velro_auth.endpoints.operation import Operation
from velro_auth.endpoints.schemas import SessionAnswer
from velro_auth.endpoints.sessions import LoginEndpoint, LogoutEndpoint, RefreshEndpoint, session_answer
from velro_auth.endpoints.verify import KnownToken, VerifyEndpoint
from velro_auth.errors import (
    CrossSite,
    SessionExpired,
    SessionRefused,
    Throttled,
    Unready,
    UpstreamError,
    UpstreamThrottled,
)
from velro_auth.web.forwarded import METHOD_FIELDS, is_nginx
from velro_auth.web.session_cookies import Header, KeptSession, SessionCookies

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: A session is refreshed when its access token is good for less than this, in seconds.
REFRESH_BEFORE_S: Final = 60

#: RFC 9110, 9.2.1. Requests with these methods change nothing.
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: The answer depends on these, beside ``Origin``, which every answer names.
_VARY: Final = ("Vary", "Authorization, Cookie, Sec-Fetch-Site")
#: WSGI environ key: the session of the cookie, where ``answers_at_once`` has read it.
_KEPT: Final = "velro_auth.kept_session"
#: These do not end the session: a later refresh may succeed.
_PASSING: Final = (SessionRefused, Throttled, Unready, UpstreamError, UpstreamThrottled)


@dataclass(frozen=True, kw_only=True)
class CookieRules:
    """What all endpoints with cookies share.

    Attributes:
        cookies: Makes and reads the cookies.
        sessions: Refreshes sessions.
        origins: Origins whose pages may send requests that change something: the service's own and, where browsers
            of other pages get the cookie too, ``CORS_ORIGINS``.
        only_from_here: Whether only pages of ``origins`` get the cookie. All other clients get tokens.
        relay_secret: A gateway that sends it to ``verify`` gets the access token; empty for none.
        now: The wall clock, in seconds since the epoch.
    """

    cookies: SessionCookies
    sessions: Sessions
    origins: Collection[str]
    only_from_here: bool = False
    relay_secret: str = ""
    now: Callable[[], float] = time.time

    def is_from_here(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a page of this service, or of a listed origin, sent the request. ``Host`` proves nothing."""
        return environ.get("HTTP_SEC_FETCH_SITE") == "same-origin" or environ.get("HTTP_ORIGIN") in self.origins

    def is_browser(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a cookie keeps the sessions of this client. Scripts cannot leave out or write these fields."""
        if self.only_from_here:
            return self.is_from_here(environ)
        return "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ


@dataclass(frozen=True)
class CookieEndpoint(Around):
    """An endpoint whose sessions a cookie keeps, for browsers. Other clients see the endpoint as it is.

    Attributes:
        rules: Shared by all endpoints.
    """

    rules: CookieRules

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What the OpenAPI document says about it."""
        return getattr(self.endpoint, "operations", {})

    @property
    def cookie_name(self) -> str:
        """The cookie's name."""
        return self.rules.cookies.names[0]

    @property
    def max_body_bytes(self) -> int:
        """Largest request body; 0 where no body is read."""
        return getattr(self.endpoint, "max_body_bytes", 0)

    @functools.cached_property
    def _begins_sessions(self) -> bool:
        if getattr(self.endpoint, "begins_sessions", False):
            return True
        answers = [operation.answer for operation in self.operations.values() if operation.answer]
        return self.name in {LoginEndpoint.name, RefreshEndpoint.name} or any(
            issubclass(answer, SessionAnswer) for answer in answers
        )

    @functools.cached_property
    def _needs_token(self) -> bool:
        if getattr(self.endpoint, "needs_token", False):
            return True
        is_token_needed = any(operation.needs_token for operation in self.operations.values())
        return is_token_needed or self.name in {LogoutEndpoint.name, VerifyEndpoint.name}

    def __call__(self, request: Request) -> WSGIApplication:
        """Answer *request*.

        Raises:
            CrossSite: It would change something, and does not come from a page that may do so.
            SessionExpired: The session in the cookie has ended; the cookie is removed.
            UpstreamMisconfigured: The session is too large for cookies.
        """
        environ, rules = request.environ, self.rules
        context = RequestContext.of(environ)
        context.answer_headers.append(_VARY)
        has_cookie = rules.cookies.is_sent(request)
        is_browser = rules.is_browser(environ)
        is_at_stake = has_cookie or (is_browser and self._begins_sessions)
        if is_at_stake and self._changes_something(environ, context) and not rules.is_from_here(environ):
            raise CrossSite("neither Sec-Fetch-Site nor Origin says that the request comes from a page of this service")
        if is_browser or self.name == CallbackEndpoint.name:
            context.keep_session = functools.partial(self._keep, request, context)
        is_refresh = self.name == RefreshEndpoint.name and _names_no_token(request)
        if (has_cookie or (is_browser and is_refresh)) and not _has_bearer(environ):
            try:
                answer = self._answer_with_cookie(request, context, is_refresh=is_refresh)
            except SessionRefused:
                raise
            except SessionExpired:
                self._set(request, context, rules.cookies.clear(request))
                raise
        else:
            answer = self.endpoint(request)
        self._relay(environ, context)
        return answer

    def answers_at_once(self, request: Request) -> bool:
        """Return whether *request* can be answered without waiting; see ``VerifyEndpoint.answers_at_once``."""
        if not isinstance(self.endpoint, VerifyEndpoint):
            return False
        environ, token = request.environ, None
        if not _has_bearer(environ) and self.rules.cookies.is_sent(request):
            kept = self.rules.cookies.find(request)
            if kept is None or kept.expires_at - self.rules.now() < REFRESH_BEFORE_S:
                return False
            environ[_KEPT], token = kept, kept.access_token
        is_prompt = self.endpoint.answers_at_once(request, token)
        if is_prompt and _may_differ(environ):
            environ.pop(SAME_ANSWER, None)
        return is_prompt

    @functools.cached_property
    def _is_verify(self) -> bool:
        return self.name == VerifyEndpoint.name

    def _changes_something(self, environ: Mapping[str, Any], context: RequestContext) -> bool:
        methods = [environ["REQUEST_METHOD"]]
        if self._is_verify and _opens_websocket(environ):
            # It begins with a GET, and what comes then is not asked about.
            return True
        if self._is_verify and context.peer_is_trusted:
            methods = [environ[field] for field in METHOD_FIELDS if field in environ] or methods
        return any(method.upper() not in SAFE for method in methods)

    def _keep(self, request: Request, context: RequestContext, session: Session) -> None:
        self._set(request, context, self.rules.cookies.keep(session, request))

    def _set(self, request: Request, context: RequestContext, cookies: Sequence[Header]) -> None:
        """Put *cookies* into the answer."""
        context.answer_headers += cookies
        is_asked_by_nginx = self._is_verify and context.peer_is_trusted and is_nginx(request.environ)
        if is_asked_by_nginx and len(cookies) > 1:
            # nginx reads the first of several fields with one name. The second cookie opens only beside the first one,
            # which no script can read, so this field is of no use to a script.
            context.answer_headers.append(("X-Auth-Set-Cookie-2", cookies[1][1]))

    def _answer_with_cookie(self, request: Request, context: RequestContext, *, is_refresh: bool) -> WSGIApplication:
        """Answer a request whose cookie counts; *is_refresh*: its session is to be refreshed."""
        kept = request.environ.get(_KEPT) or self.rules.cookies.find(request)
        if kept is None:
            if is_refresh or self.name == LogoutEndpoint.name:
                raise SessionExpired("there is no session cookie, or it cannot be opened")
            return self.endpoint(request)
        if is_refresh:
            return session_answer(self.rules.sessions.refresh(kept.refresh_token, context), context)
        if self.name == LogoutEndpoint.name:
            return self._logged_out(request, context, kept)
        if self._needs_token:
            _bring(request, self._fresh(request, context, kept))
        return self.endpoint(request)

    def _logged_out(self, request: Request, context: RequestContext, kept: KeptSession) -> WSGIApplication:
        _bring(request, kept.access_token)
        context.kept_refresh_token = kept.refresh_token
        answer = self.endpoint(request)
        if request.args.get("scope") != "others":
            self._set(request, context, self.rules.cookies.clear(request))
        return answer

    def _fresh(self, request: Request, context: RequestContext, kept: KeptSession) -> str:
        """Return an access token that is good for a while; refresh the session if the one in the cookie is not."""
        left_s = kept.expires_at - self.rules.now()
        if left_s >= REFRESH_BEFORE_S or KnownToken.of(request.environ, kept.access_token):
            return kept.access_token
        try:
            session = self.rules.sessions.refresh(kept.refresh_token, context)
        except _PASSING as error:
            if left_s <= 0:
                raise
            context.log_fields["not_refreshed"] = error.reason
            return kept.access_token
        self._keep(request, context, session)
        return session.access_token

    def _relay(self, environ: Mapping[str, Any], context: RequestContext) -> None:
        """Give the access token to a gateway that knows the secret."""
        secret, sent = self.rules.relay_secret, environ.get("HTTP_X_VELRO_RELAY", "")
        if not self._is_verify or not secret:
            return
        if hmac.compare_digest(sent.encode("utf-8", "replace"), secret.encode()):
            token = bearer_token(environ.get("HTTP_AUTHORIZATION"))
            context.answer_headers.append(("X-Auth-Access-Token", token))


def _names_no_token(request: Request) -> bool:
    """Return whether the body is empty, or an empty object: many clients send one for want of anything to say."""
    return is_empty(request) or (request.content_length == len(b"{}") and request.get_data() == b"{}")


def _may_differ(environ: Mapping[str, Any]) -> bool:
    """Return whether the answer may depend on more than the user: on where the request comes from, or on the relay."""
    if environ["REQUEST_METHOD"] not in SAFE or "HTTP_X_VELRO_RELAY" in environ or _opens_websocket(environ):
        return True
    return any(environ[field].upper() not in SAFE for field in METHOD_FIELDS if field in environ)


def _has_bearer(environ: Mapping[str, Any]) -> bool:
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    # Mostly that is all of it, and the token need not be copied.
    return header[:7] == "Bearer " or header.strip(" ").partition(" ")[0].lower() == "bearer"


def _opens_websocket(environ: Mapping[str, Any]) -> bool:
    """Return whether the request opens a websocket. Chromium sends no ``Sec-Fetch-Mode`` with it, but the other fields.

    Each of them is enough: gateways keep ``Upgrade`` to themselves, and HTTP/2 has no ``Sec-WebSocket-Key`` (RFC 8441).
    """
    return (
        "HTTP_SEC_WEBSOCKET_KEY" in environ
        or "HTTP_SEC_WEBSOCKET_VERSION" in environ
        or environ.get("HTTP_SEC_FETCH_MODE") == "websocket"
        or "websocket" in environ.get("HTTP_UPGRADE", "").lower()
    )


def _bring(request: Request, token: str) -> None:
    request.environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
