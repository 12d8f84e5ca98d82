"""The pages whose work is done by a script: sign-up, forgotten passwords, mailed links, the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, get_args
from urllib.parse import urlencode

from werkzeug.wrappers import Request

from velro_auth.auth.account import OPENING, ProofType
from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import RawResponse
from velro_auth.endpoints.pages.page import ACCOUNT_PATH, LOGIN_PATH, Site, show_error
from velro_auth.endpoints.pages.rendering import see_other
from velro_auth.endpoints.sessions import LogoutEndpoint
from velro_auth.errors import CrossSite
from velro_auth.web.session_cookies import SessionCookies

RESET_PATH: Final = "/reset"
#: What the form of the button to sign out sends as ``action``.
SIGN_OUT: Final = "sign-out"

#: What a page without a type in its address asks a code for.
_USUAL_TYPE: Final = "signup"


def _again(request: Request) -> RawResponse:
    """Show the page again to a user who sent its form before the script had loaded. The form is not read."""
    query = request.query_string.decode("latin-1")
    return see_other(f"{request.path}?{query}" if query else request.path)


@dataclass(frozen=True)
class _ScriptedPage:
    """What these pages have in common."""

    site: Site

    methods: ClassVar = ("GET", "HEAD", "POST")

    def refused(self, request: Request, error: Exception) -> RawResponse:
        """Answer with *error*."""
        return show_error(self.site, request, error)


@dataclass(frozen=True)
class SignUpPage(_ScriptedPage):
    """``/signup``: makes an account."""

    name: ClassVar = "page_signup"
    paths: ClassVar = ("/signup",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form."""
        if request.method == "POST":
            return _again(request)
        return self.site.renderer.page("signup", request, leads_to=self.site.leads_to(request.args.get("rd", "")))


@dataclass(frozen=True)
class ForgotPage(_ScriptedPage):
    """``/forgot``: asks for a mail with which the password can be replaced."""

    name: ClassVar = "page_forgot"
    paths: ClassVar = ("/forgot",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form."""
        if request.method == "POST":
            return _again(request)
        return self.site.renderer.page("forgot", request)


@dataclass(frozen=True)
class ResetPage(_ScriptedPage):
    """``/reset``: replaces the password, with a mailed link or code. Opening the link spends nothing."""

    name: ClassVar = "page_reset"
    paths: ClassVar = (RESET_PATH,)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form. What the address holds is read by the script only."""
        if request.method == "POST":
            return _again(request)
        has_link = bool(request.args.get("token_hash") or request.args.get("code"))
        return self.site.renderer.page("reset", request, has_link=has_link)


@dataclass(frozen=True)
class ConfirmPage(_ScriptedPage):
    """``/confirm``: every other mailed link or code. Opening the link spends nothing: it is used after a click."""

    name: ClassVar = "page_confirm"
    paths: ClassVar = ("/confirm",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the form for the type of the link. What the address holds is read by the script only."""
        if request.method == "POST":
            return _again(request)
        kind = request.args.get("type", "")
        if kind == "recovery":
            # The project's templates may lead all links to one page.
            return see_other(f"{RESET_PATH}?{urlencode(list(request.args.items(multi=True)))}")
        has_link = bool(request.args.get("token_hash") or request.args.get("code"))
        kind = kind if kind in get_args(ProofType) else _USUAL_TYPE
        return self.site.renderer.page(
            "confirm", request, has_link=has_link, kind=kind, takes_password=kind in OPENING and kind != "magiclink"
        )


@dataclass(frozen=True)
class AccountPage(_ScriptedPage):
    """``/account``: what users may change about themselves; and signing out, also without a script."""

    sessions: Sessions
    cookies: SessionCookies

    name: ClassVar = "page_account"
    paths: ClassVar = (ACCOUNT_PATH,)
    needs_token: ClassVar = True

    def __call__(self, request: Request) -> RawResponse:
        """Answer with the page, or sign out.

        Raises:
            TokenError: The user is not signed in.
            CrossSite: The form is not one of this page.
            RequestError: It cannot be read.
        """
        token, context = bearer_token(request.headers.get("Authorization")), RequestContext.of(request.environ)
        if request.method == "POST":
            if self.site.form(request).get("action") != SIGN_OUT:
                return _again(request)
            context.operation = LogoutEndpoint.name
            if context.keep_session is None:
                raise CrossSite("the form was not sent by a browser")
            self.sessions.log_out(token, "local", context, refresh_token=lambda: context.kept_refresh_token)
            context.answer_headers += self.cookies.clear(request)
            return see_other(LOGIN_PATH)
        claims = self.sessions.verify(token, context).claims
        return self.site.renderer.page("account", request, email=claims.email or "")
