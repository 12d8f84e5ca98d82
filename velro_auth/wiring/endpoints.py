"""Builds the endpoints over the services, and what is around some of them: cookie sessions, the rules of a site."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.account import ForgotEndpoint, OtpEndpoint, ResendEndpoint, SignUpEndpoint
from velro_auth.endpoints.confirmation import ConfirmEndpoint, ResetEndpoint
from velro_auth.endpoints.cookie_sessions import CookieEndpoint, CookieRules
from velro_auth.endpoints.factors import (
    FactorChallengeEndpoint,
    FactorEndpoint,
    FactorsEndpoint,
    FactorVerifyEndpoint,
)
from velro_auth.endpoints.oauth import AuthorizeEndpoint, CallbackEndpoint, ExchangeEndpoint
from velro_auth.endpoints.pages.assets import AssetEndpoint, Assets
from velro_auth.endpoints.pages.branding import Brand, logo_of
from velro_auth.endpoints.pages.messages import Languages
from velro_auth.endpoints.pages.page import LOGIN_PATH, Page, PageEndpoint, Site
from velro_auth.endpoints.pages.rendering import Renderer
from velro_auth.endpoints.pages.scripted import AccountPage, ConfirmPage, ForgotPage, ResetPage, SignUpPage
from velro_auth.endpoints.pages.sign_in import FactorPage, LoginPage, SignedIn
from velro_auth.endpoints.protection import ProtectionEndpoint, SiteRules
from velro_auth.endpoints.session_list import SessionEndpoint, SessionsEndpoint
from velro_auth.endpoints.sessions import LoginEndpoint, LogoutEndpoint, RefreshEndpoint
from velro_auth.endpoints.supabase_api.client_keys import ClientKeys
from velro_auth.endpoints.supabase_api.mails import Mails
from velro_auth.endpoints.supabase_api.passed import PassedOnRoutes
from velro_auth.endpoints.supabase_api.routes import SupabaseApiEndpoint, routes
from velro_auth.endpoints.supabase_api.tokens import Tokens
from velro_auth.endpoints.supabase_api.users import Users
from velro_auth.endpoints.user import (
    AnonymousEndpoint,
    MeEndpoint,
    PasswordEndpoint,
    ProfileEndpoint,
    ReauthenticateEndpoint,
)
from velro_auth.endpoints.verify import VerifyEndpoint
from velro_auth.web.origins import normal_origin
from velro_auth.wiring.services import Services

#: Returns an endpoint as browsers shall see it.
Browsers: TypeAlias = Callable[[Endpoint], Endpoint]


def _authorize(services: Services) -> AuthorizeEndpoint:
    settings = services.settings
    return AuthorizeEndpoint(
        settings.supabase_url,
        settings.auth_public_url,
        services.redirects,
        services.flows.cookies,
        settings.auth_cookie_sessions,
    )


def _callback(services: Services) -> CallbackEndpoint:
    exchange, settings = services.exchange, services.settings
    return CallbackEndpoint(
        services.redirects,
        services.flows.cookies,
        exchange.handoffs,
        exchange,
        keeps_sessions=settings.auth_cookie_sessions,
        login_page=LOGIN_PATH if settings.auth_pages else "",
    )


#: The class of each endpoint that frontends call → how it is built.
FRONTENDS: Final[Mapping[Any, Callable[[Services], Endpoint]]] = {
    LoginEndpoint: lambda its: LoginEndpoint(its.login, its.max_body_bytes),
    RefreshEndpoint: lambda its: RefreshEndpoint(its.sessions, its.max_body_bytes),
    LogoutEndpoint: lambda its: LogoutEndpoint(its.sessions, its.max_body_bytes),
    MeEndpoint: lambda its: MeEndpoint(its.sessions, its.changes, its.flows, its.max_body_bytes),
    ProfileEndpoint: lambda its: ProfileEndpoint(its.sessions, its.changes, its.flows, its.max_body_bytes),
    PasswordEndpoint: lambda its: PasswordEndpoint(its.changes, its.max_body_bytes),
    ReauthenticateEndpoint: lambda its: ReauthenticateEndpoint(its.changes),
    FactorsEndpoint: lambda its: FactorsEndpoint(its.factors, its.max_body_bytes),
    FactorEndpoint: lambda its: FactorEndpoint(its.factors, its.max_body_bytes),
    FactorChallengeEndpoint: lambda its: FactorChallengeEndpoint(its.factors),
    FactorVerifyEndpoint: lambda its: FactorVerifyEndpoint(its.factors, its.max_body_bytes),
    AnonymousEndpoint: lambda its: AnonymousEndpoint(its.anonymous, its.max_body_bytes),
    SignUpEndpoint: lambda its: SignUpEndpoint(its.sign_ups, its.flows, its.max_body_bytes),
    ResendEndpoint: lambda its: ResendEndpoint(its.mailing, its.flows, its.max_body_bytes),
    OtpEndpoint: lambda its: OtpEndpoint(its.mailing, its.flows, its.max_body_bytes),
    ForgotEndpoint: lambda its: ForgotEndpoint(its.mailing, its.flows, its.max_body_bytes),
    ConfirmEndpoint: lambda its: ConfirmEndpoint(its.setter, its.max_body_bytes),
    ResetEndpoint: lambda its: ResetEndpoint(its.setter, its.max_body_bytes),
    AuthorizeEndpoint: _authorize,
    CallbackEndpoint: _callback,
    ExchangeEndpoint: lambda its: ExchangeEndpoint(its.setter, its.flows.cookies, its.max_body_bytes),
    SessionsEndpoint: lambda its: SessionsEndpoint(its.session_list),
    SessionEndpoint: lambda its: SessionEndpoint(its.session_list),
}

#: The classes of the endpoints that :func:`build_pages` builds.
PAGES: Final = (LoginPage, FactorPage, SignUpPage, ForgotPage, ResetPage, ConfirmPage, AccountPage, AssetEndpoint)


def build_pages(services: Services, browsers: Browsers) -> tuple[Endpoint, ...]:
    """Build the pages for people; none where they are off. *browsers* returns a page as browsers shall see it."""
    settings = services.settings
    if not settings.has_pages:
        return ()
    public_url, cookies, sessions = settings.auth_public_url, services.session_cookies, services.sessions
    site, assets = _site(services)
    pages: tuple[Page, ...] = (
        LoginPage(site, services.login, settings.auth_pages_providers, public_url, SignedIn(cookies, sessions)),
        FactorPage(site, services.factors, sessions),
        SignUpPage(site),
        ForgotPage(site),
        ResetPage(site),
        ConfirmPage(site),
        AccountPage(site, sessions, cookies),
    )
    return (*(PageEndpoint(browsers(page), page) for page in pages), AssetEndpoint(assets))


def _site(services: Services) -> tuple[Site, Assets]:
    """Read all files of the pages."""
    settings, public_url = services.settings, services.settings.auth_public_url
    folder = Path(settings.auth_pages_dir) if settings.auth_pages_dir else None
    name = settings.auth_brand_name or urlsplit(public_url).hostname or ""
    brand = Brand(name, settings.auth_brand_color, logo_of(settings.auth_brand_logo))
    assets, languages = Assets(brand, folder), Languages.shipped(folder)
    renderer = Renderer(brand=brand, assets=assets, languages=languages, public_url=public_url, folder=folder)
    return Site(renderer=renderer, redirects=services.redirects, max_body_bytes=services.max_body_bytes), assets


def build_verify(services: Services, browsers: Browsers) -> ProtectionEndpoint:
    """Build ``verify`` with the rules of the site and the way to the login."""
    settings = services.settings
    site = SiteRules(
        access=settings.access_rules,
        is_broken=bool(settings.auth_rules_file) and settings.access_rules is None,
        login_url=settings.login_url,
        allowed=services.redirects,
    )
    return ProtectionEndpoint(browsers(VerifyEndpoint(services.sessions)), site)


def build_supabase_api(services: Services) -> SupabaseApiEndpoint | None:
    """Build ``/auth/v1/*`` over the same services as the service's own API; None where it is off."""
    settings, passed = services.settings, services.passed
    if not settings.auth_supabase_api:
        return None
    table = routes(
        Tokens(services.login, services.sessions, services.exchange, passed),
        Mails(services.sign_ups, services.anonymous, services.mailing, services.proofs, passed),
        Users(services.changes, services.factors, passed),
        PassedOnRoutes(passed),
    )
    keys = ClientKeys(settings.client_keys)
    return SupabaseApiEndpoint(keys, table, services.redirects, settings.supabase_url, services.max_body_bytes)


def cookie_sessions(services: Services) -> tuple[Browsers, Browsers]:
    """Return a function for the endpoints of the API, and one for the pages.

    With ``AUTH_PAGES`` alone, the API keeps the sessions of the service's own pages in cookies, and no others. Without
    it and ``AUTH_COOKIE_SESSIONS``, endpoints stay as they are.
    """
    settings = services.settings
    if not settings.has_session_cookies:
        return _unchanged, _unchanged
    own = [normal_origin(settings.auth_public_url)] if settings.auth_public_url else []
    rules = CookieRules(
        cookies=services.session_cookies,
        sessions=services.sessions,
        origins=frozenset({*own, *(_listed(settings) if settings.auth_cookie_sessions else ())} - {"null"}),
        relay_secret=settings.auth_relay_secret,
    )
    for_api = dataclasses.replace(rules, only_from_here=not settings.auth_cookie_sessions)
    return lambda endpoint: CookieEndpoint(endpoint, for_api), lambda page: CookieEndpoint(page, rules)


def _listed(settings: Settings) -> list[str]:
    # Patterns also match pages that their author did not know.
    return [origin for origin in settings.cors_origins if "*" not in origin]


def _unchanged(endpoint: Endpoint) -> Endpoint:
    return endpoint
