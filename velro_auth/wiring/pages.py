"""Builds the pages for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from velro_auth.auth.login import Login
from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.pages.assets import AssetEndpoint, Assets
from velro_auth.endpoints.pages.branding import Brand, logo_of
from velro_auth.endpoints.pages.messages import Languages
from velro_auth.endpoints.pages.page import Page, PageEndpoint, Site
from velro_auth.endpoints.pages.rendering import Renderer
from velro_auth.endpoints.pages.scripted import AccountPage, ConfirmPage, ForgotPage, ResetPage, SignUpPage
from velro_auth.endpoints.pages.sign_in import FactorPage, LoginPage, SignedIn
from velro_auth.upstream.calls import AuthCalls
from velro_auth.web.redirects import allowed_redirect
from velro_auth.web.session_cookies import SessionCookies
from velro_auth.wiring.state import ApplicationState
from velro_auth.wiring.user import build_factors

#: The classes of the endpoints that :func:`build_pages` builds.
PAGES: Final = (LoginPage, FactorPage, SignUpPage, ForgotPage, ResetPage, ConfirmPage, AccountPage, AssetEndpoint)


def build_pages(
    settings: Settings,
    state: ApplicationState,
    login: Login,
    sessions: Sessions,
    *,
    calls: AuthCalls,
    browsers: Callable[[Endpoint], Endpoint],
) -> tuple[Endpoint, ...]:
    """Build the endpoints; none where the pages are off.

    Args:
        settings: The settings in force.
        state: The state of this process.
        login: The login service.
        sessions: The sessions service.
        calls: Asks Supabase Auth.
        browsers: Returns a page as browsers shall see it.
    """
    if not settings.has_pages:
        return ()
    public_url = settings.auth_public_url
    site, assets = _site(settings)
    factors = build_factors(calls, state.upstream.owners, sessions, state.user)
    cookies = SessionCookies(state.sealing_keys(settings), public_url=public_url)
    pages: tuple[Page, ...] = (
        LoginPage(site, login, settings.auth_pages_providers, public_url, SignedIn(cookies, sessions)),
        FactorPage(site, factors, sessions),
        SignUpPage(site),
        ForgotPage(site),
        ResetPage(site),
        ConfirmPage(site),
        AccountPage(site, sessions, cookies),
    )
    return (*(PageEndpoint(page, browsers(page)) for page in pages), AssetEndpoint(assets))


def _site(settings: Settings) -> tuple[Site, Assets]:
    """Read all files of the pages."""
    public_url = settings.auth_public_url
    folder = Path(settings.auth_pages_dir) if settings.auth_pages_dir else None
    name = settings.auth_brand_name or urlsplit(public_url).hostname or ""
    brand = Brand(name, settings.auth_brand_color, logo_of(settings.auth_brand_logo))
    assets, languages = Assets(brand, folder), Languages.shipped(folder)
    return Site(
        renderer=Renderer(brand=brand, assets=assets, languages=languages, public_url=public_url, folder=folder),
        redirects=tuple(map(allowed_redirect, settings.redirect_urls)),
        max_body_bytes=settings.auth_max_body_bytes,
    ), assets
