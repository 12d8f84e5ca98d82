"""``verify`` for web pages: the rules of a site, and the way to the login.

This stands in front of ``verify`` with its cookies. It reads no token itself: it finds the rule for the request that a
gateway asks about, has ``verify`` check what that rule requires, and changes the answer if no user is signed in: to
200 for a public part of the site, to a redirect for a page that was asked for with ``on_fail=login``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from werkzeug.wrappers import Request

from velro_auth.auth.access_rules import AccessRules, Decision
from velro_auth.auth.requirements import NO_IDENTITY
from velro_auth.context import SAME_ANSWER, RequestContext
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.bodies import NO_STORE, PLAIN_TEXT, RawResponse
from velro_auth.endpoints.cookie_sessions import CookieEndpoint
from velro_auth.endpoints.verify import VerifyEndpoint, requirements_of
from velro_auth.errors import (
    AuthError,
    BadParameter,
    Forbidden,
    Throttled,
    Unready,
    UpstreamError,
    UpstreamMisconfigured,
    UpstreamThrottled,
    VelroAuthError,
)
from velro_auth.web.forwarded import ForwardedRequest, forwarded_request, is_nginx
from velro_auth.web.problems import answer_for
from velro_auth.web.redirects import AllowedRedirect, is_allowed, is_page_load

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: After these errors, which sign no user in, a public part of the site stays open.
_NO_SESSION: Final = (AuthError, Throttled, Unready, UpstreamError, UpstreamThrottled)
_VARY: Final = ("Vary", "Accept, Sec-Fetch-Mode")
#: What a gateway sends on to the client with the answer of a part that is not public. ``Cache-Control`` itself is for
#: the answer of ``verify``.
_NOT_FOR_CACHES: Final = ("X-Auth-Cache-Control", "no-store")
#: Where the address may stand that the rules are compared with. That takes time in proportion to its length: with
#: fifty rules, 10 ms for the longest one (measured), in which the main thread would do nothing else.
_ADDRESSES: Final = ("RAW_URI", "HTTP_X_ORIGINAL_URL", "HTTP_X_FORWARDED_URI")
_SHORT_CHARACTERS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class SiteRules:
    """What an operator says about protected sites.

    Attributes:
        access: Who may reach what; None without a file of rules.
        is_broken: Whether there is a file of rules, but it cannot be used.
        login_url: The page of the login, or its path on the host that was asked for; empty if none is known.
        allowed: Addresses that the login may lead back to.
    """

    access: AccessRules | None = None
    is_broken: bool = False
    login_url: str = ""
    allowed: Sequence[AllowedRedirect] = ()

    @property
    def has_rules(self) -> bool:
        """Whether each request is compared with a file of rules."""
        return self.access is not None or self.is_broken

    def login_address(self, asked: ForwardedRequest | None) -> str:
        """Return the address of the login, with the address asked for in ``rd`` if that is an allowed one."""
        if asked is None or not is_allowed(asked.address, self.allowed):
            return self.login_url
        separator = "&" if "?" in self.login_url else "?"
        return f"{self.login_url}{separator}rd={quote(asked.address, safe='')}"

    def is_login(self, asked: ForwardedRequest | None) -> bool:
        """Return whether the page of the login itself is asked for."""
        if asked is None:
            return False
        return _page(self.login_url) in {_page(asked.address), _page(asked.target)}


@dataclass(frozen=True)
class ProtectionEndpoint:
    """``verify`` with the rules of a site.

    Attributes:
        endpoint: ``verify``, perhaps with cookie sessions.
        site: The rules.
    """

    endpoint: Endpoint
    site: SiteRules

    name = VerifyEndpoint.name
    methods = VerifyEndpoint.methods
    paths = VerifyEndpoint.paths

    def __call__(self, request: Request) -> WSGIApplication:
        """Answer whether the request that a gateway asks about may pass, and whose it is.

        Raises:
            BadParameter: A requirement, or the description of the request, cannot be understood.
            UpstreamMisconfigured: The file of rules cannot be used, or the login is needed and its address not known.
            AuthError: No user is signed in.
            Forbidden: The rules allow no user, or not this one.
        """
        environ, site = request.environ, self.site
        if not site.has_rules and not environ.get("QUERY_STRING") and not environ.get("HTTP_X_AUTH_REQUIRE"):
            return self.endpoint(request)
        context = RequestContext.of(environ)
        required = requirements_of(environ, context, self.paths)
        if site.is_broken:
            raise UpstreamMisconfigured("AUTH_RULES_FILE cannot be used: velro-auth config check says why")
        asked = self._asked(environ, context, is_needed=site.has_rules)
        decision = self._decide(asked, context)
        is_public = decision is not None and decision.allow == "public"
        if decision is not None and decision.rule is not None:
            context.required = decision.rule.requirements
        if not is_public:
            context.answer_headers.append(_NOT_FOR_CACHES)
        try:
            return self.endpoint(request)
        except _NO_SESSION as error:
            if is_public and not any(each.needs_session for each in required):
                return _anonymous(error, context)
            if not isinstance(error, AuthError) or not any(each.leads_to_login for each in required):
                raise
            return self._to_login(error, environ, asked)

    def answers_at_once(self, request: Request) -> bool:
        """Return whether *request* can be answered without waiting; see ``VerifyEndpoint.answers_at_once``."""
        if self.site.access is not None:
            characters = sum(len(request.environ.get(name, "")) for name in _ADDRESSES)
            if characters > _SHORT_CHARACTERS:
                return False
        if not isinstance(self.endpoint, VerifyEndpoint | CookieEndpoint) or not self.endpoint.answers_at_once(request):
            return False
        if self.site.has_rules:
            # The answer depends on the request that is asked about.
            request.environ.pop(SAME_ANSWER, None)
        return True

    def _asked(
        self, environ: Mapping[str, Any], context: RequestContext, *, is_needed: bool
    ) -> ForwardedRequest | None:
        if not context.peer_is_trusted:
            if is_needed:
                raise BadParameter("AUTH_RULES_FILE is set: the gateway that asks has to be in TRUSTED_PROXIES.")
            return None
        try:
            return forwarded_request(environ, self.paths)
        except BadParameter:
            if is_needed:
                raise
        return None

    def _decide(self, asked: ForwardedRequest | None, context: RequestContext) -> Decision | None:
        if self.site.access is None or asked is None:
            return None
        decision = self.site.access.decide(asked.method, asked.authority, asked.target)
        if decision.rule is not None:
            context.log_fields["rule"] = decision.rule.name or decision.rule.line
        if decision.allow == "nobody":
            raise Forbidden(f"rules: {decision.reason}")
        return decision

    def _to_login(
        self, error: AuthError, environ: Mapping[str, Any], asked: ForwardedRequest | None
    ) -> WSGIApplication:
        context = RequestContext.of(environ)
        context.answer_headers.append(_VARY)
        if not is_page_load(environ):
            raise error
        if not self.site.login_url:
            raise UpstreamMisconfigured("on_fail=login needs AUTH_LOGIN_URL or AUTH_PUBLIC_URL")
        if self.site.is_login(asked):
            # It would lead to itself for ever.
            context.log_fields["not_redirected"] = "the page of the login needs a session itself"
            raise error
        address = self.site.login_address(asked)
        if context.peer_is_trusted and is_nginx(environ):
            context.answer_headers.append(("X-Auth-Redirect", address))
            raise error
        context.outcome = answer_for(error).code
        return RawResponse(b"", [("Location", address), PLAIN_TEXT, NO_STORE], "303 See Other")


def _page(address: str) -> str:
    return address.partition("?")[0].rstrip("/").lower()


def _anonymous(error: VelroAuthError, context: RequestContext) -> RawResponse:
    context.log_fields["anonymous"] = answer_for(error).code
    return RawResponse(b"", [PLAIN_TEXT, NO_STORE, *NO_IDENTITY.items()])
