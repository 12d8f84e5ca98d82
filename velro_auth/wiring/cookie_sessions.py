"""Builds cookie sessions around the endpoints of the account."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.cookie_sessions import CookieEndpoint, CookieRules
from velro_auth.web.origins import normal_origin
from velro_auth.web.session_cookies import SessionCookies

#: Returns an endpoint as browsers shall see it.
Browsers: TypeAlias = Callable[[Endpoint], Endpoint]


def cookie_sessions(settings: Settings, sessions: Sessions, keys: Sequence[bytes]) -> tuple[Browsers, Browsers]:
    """Return a function for the endpoints of the API, and one for the pages.

    Args:
        settings: The settings in force. With ``AUTH_PAGES`` alone, the API keeps the sessions of the service's own
            pages in cookies, and no others. Without it and ``AUTH_COOKIE_SESSIONS``, endpoints stay as they are.
        sessions: The sessions service.
        keys: Seal the cookies.
    """
    if not settings.has_session_cookies:
        return _unchanged, _unchanged
    own = [normal_origin(settings.auth_public_url)] if settings.auth_public_url else []
    rules = CookieRules(
        cookies=SessionCookies(keys, public_url=settings.auth_public_url),
        sessions=sessions,
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
