"""The sign-in, which works without a script: a form, and the second factor.

With a script, the same two pages call the API instead of sending their forms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import urlencode

import marshmallow
from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.factors import Factor, Factors
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.models import STEPPED_UP, Credentials, Session
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse, is_uuid, loaded
from velro_auth.endpoints.factors import FactorVerifyEndpoint
from velro_auth.endpoints.oauth import AUTHORIZE_PATH
from velro_auth.endpoints.pages.page import ACCOUNT_PATH, FACTOR_PATH, LOGIN_PATH, PROVIDER_ERRORS, Site
from velro_auth.endpoints.pages.rendering import Problem, problem_of, see_other
from velro_auth.endpoints.schemas import LoginBody
from velro_auth.endpoints.sessions import LoginEndpoint
from velro_auth.endpoints.user_schemas import FactorCodeBody
from velro_auth.errors import CrossSite, NotFound, SessionExpired, TokenError
from velro_auth.web.session_cookies import SessionCookies

_LOGIN: Final = LoginBody(unknown=marshmallow.EXCLUDE)
_CODE: Final = FactorCodeBody(unknown=marshmallow.EXCLUDE)

#: Provider → its name for people. Others are shown with a capital letter.
_PROVIDER_NAMES: Final = {
    "azure": "Microsoft",
    "bitbucket": "Bitbucket",
    "facebook": "Facebook",
    "github": "GitHub",
    "gitlab": "GitLab",
    "keycloak": "Keycloak",
    "linkedin_oidc": "LinkedIn",
    "slack_oidc": "Slack",
    "workos": "WorkOS",
}


@dataclass(frozen=True)
class Button:
    """A button that begins a sign-in with a provider."""

    name: str
    address: str


@dataclass(frozen=True)
class LoginPage:
    """``/login``: address and password, and the buttons of providers.

    Attributes:
        site: What the pages share.
        log_in: Returns a new session for credentials, or raises one of our errors.
        providers: The providers with a button.
        public_url: The address of this service for browsers.
        signed_in_as: Returns the address of the user of this browser's session; empty without one.
    """

    site: Site
    log_in: Callable[[Credentials, RequestContext], Session]
    providers: Sequence[str]
    public_url: str
    signed_in_as: Callable[[Request], str]

    name: ClassVar = "page_login"
    methods: ClassVar = ("GET", "HEAD", "POST")
    paths: ClassVar = (LOGIN_PATH,)
    #: A request of another site must not sign the user in as another user.
    begins_sessions: ClassVar = True

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form, or sign in with a sent one.

        Raises:
            CrossSite: The form is not one of this page.
            InvalidRequest: A field is missing or wrong.
        """
        if request.method != "POST":
            error = PROVIDER_ERRORS.get(request.args.get("error", ""))
            problem = Problem(status="200 OK", code=error) if error else None
            return self._page(request, request.args.get("rd", ""), problem=problem)
        context = RequestContext.of(request.environ)
        # In metrics, objectives and the audit trail it is a login like any other.
        context.operation = LoginEndpoint.name
        if context.keep_session is None:
            raise CrossSite("the form was not sent by a browser")
        fields = self.site.form(request)
        credentials = Credentials(**loaded(_LOGIN, {name: fields.get(name, "") for name in ("email", "password")}))
        session = self.log_in(credentials, context)
        context.keep_session(session)
        return see_other(self._next(request, session, self.site.leads_to(fields.get("rd", ""))))

    def refused(self, request: Request, error: Exception) -> RawResponse:
        """Answer with the form and *error*. The password has to be typed again, the address not."""
        fields = self.site.form_again(request)
        return self._page(
            request, fields.get("rd", ""), problem=problem_of(error, request), email=fields.get("email", "")
        )

    def _page(self, request: Request, given: str, *, problem: Problem | None, email: str = "") -> RawResponse:
        leads_to = self.site.leads_to(given)
        return self.site.renderer.page(
            "login",
            request,
            leads_to=leads_to,
            problem=problem,
            email=email,
            signed_in_as="" if problem else self.signed_in_as(request),
            onward=_factor_path(leads_to, request.args.get("lang", "")),
            buttons=[self._button(provider, leads_to) for provider in self.providers],
        )

    def _button(self, provider: str, leads_to: str) -> Button:
        # The page of second factors leads each user on to the page asked for, and knows who must prove a factor first.
        back = f"{self.public_url.rstrip('/')}{_factor_path(leads_to, '')}"
        query = urlencode({"redirect_to": back})
        name = _PROVIDER_NAMES.get(provider) or provider.removeprefix("custom:").replace("_", " ").title()
        return Button(name, f"{AUTHORIZE_PATH}/{provider}?{query}")

    def _next(self, request: Request, session: Session, leads_to: str) -> str:
        if session.mfa is not None:
            return _factor_path(leads_to, request.args.get("lang", ""))
        return leads_to or ACCOUNT_PATH


@dataclass(frozen=True)
class FactorPage:
    """``/login/factor``: asks for the code of a second factor where one is due, and leads on."""

    site: Site
    factors: Factors
    sessions: Sessions

    name: ClassVar = "page_factor"
    methods: ClassVar = ("GET", "HEAD", "POST")
    paths: ClassVar = (FACTOR_PATH,)
    begins_sessions: ClassVar = True
    needs_token: ClassVar = True

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form, or step up with a sent one.

        Raises:
            CrossSite: The form is not one of this page.
            InvalidRequest: The code has not the form of one.
            CodeInvalid: The code is wrong.
            NotFound: The user has no such factor.
        """
        token, context = bearer_token(request.headers.get("Authorization")), RequestContext.of(request.environ)
        if request.method != "POST":
            leads_to = self.site.leads_to(request.args.get("rd", ""))
            if self.sessions.verify(token, context).claims.aal in STEPPED_UP:
                return see_other(leads_to or ACCOUNT_PATH)
            verified = self._verified(token, context)
            return self._page(request, leads_to, verified) if verified else see_other(leads_to or ACCOUNT_PATH)
        context.operation = FactorVerifyEndpoint.name
        if context.keep_session is None:
            raise CrossSite("the form was not sent by a browser")
        fields = self.site.form(request)
        factor_id = fields.get("factor", "")
        if not is_uuid(factor_id):
            raise NotFound("the id of a factor is no UUID")
        code = loaded(_CODE, {"code": fields.get("code", "")})["code"]
        context.keep_session(self.factors.verify(token, factor_id, code, context))
        return see_other(self.site.leads_to(fields.get("rd", "")) or ACCOUNT_PATH)

    def refused(self, request: Request, error: Exception) -> RawResponse:
        """Answer with the form and *error*."""
        fields = self.site.form_again(request) if request.method == "POST" else request.args
        factor = fields.get("factor", "")
        # Asking for the list again would cost a call for each wrong code.
        known = [Factor(id=factor, type="totp", status="verified")] if is_uuid(factor) else []
        problem = problem_of(error, request)
        if not known and not isinstance(error, (TokenError, SessionExpired)):
            return self.site.renderer.page("error", request, problem=problem)
        return self._page(request, self.site.leads_to(fields.get("rd", "")), known, problem)

    def _verified(self, token: str, context: RequestContext) -> list[Factor]:
        return [factor for factor in self.factors.all(token, context) if factor.status == "verified"]

    def _page(
        self, request: Request, leads_to: str, factors: Sequence[Factor], problem: Problem | None = None
    ) -> RawResponse:
        return self.site.renderer.page("factor", request, leads_to=leads_to, problem=problem, factors=factors)


@dataclass(frozen=True)
class SignedIn:
    """Tells whose session a browser has, without asking Supabase."""

    cookies: SessionCookies
    sessions: Sessions

    def __call__(self, request: Request) -> str:
        """Return the mail address of the user; empty without a session that is good now."""
        kept = self.cookies.find(request)
        if kept is None:
            return ""
        try:
            claims = self.sessions.verifier.verify(kept.access_token)
        except (TokenError, CannotVerify):
            return ""
        return "" if self.sessions.denied.denies(claims) else claims.email or ""


def _factor_path(leads_to: str, lang: str) -> str:
    query = {name: value for name, value in (("rd", leads_to), ("lang", lang)) if value}
    return f"{FACTOR_PATH}?{urlencode(query)}" if query else FACTOR_PATH
