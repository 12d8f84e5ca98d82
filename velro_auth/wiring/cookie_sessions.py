"""Builds cookie sessions around the endpoints of the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.cookie_sessions import CookieEndpoint, CookieRules
from velro_auth.web.origins import normal_origin
from velro_auth.web.session_cookies import SessionCookies


def cookie_sessions(settings: Settings, sessions: Sessions, keys: Sequence[bytes]) -> Callable[[Endpoint], Endpoint]:
    """Return a function that returns an endpoint as browsers shall see it.

    Args:
        settings: The settings in force. With ``AUTH_COOKIE_SESSIONS`` off, endpoints stay as they are.
        sessions: The sessions service.
        keys: Seal the cookies.
    """
    if not settings.auth_cookie_sessions:
        return lambda endpoint: endpoint
    own = [normal_origin(settings.auth_public_url)] if settings.auth_public_url else []
    rules = CookieRules(
        cookies=SessionCookies(keys, public_url=settings.auth_public_url),
        sessions=sessions,
        # Patterns also match pages that their author did not know.
        origins=frozenset({*own, *(origin for origin in settings.cors_origins if "*" not in origin)} - {"null"}),
        relay_secret=settings.auth_relay_secret,
    )
    return lambda endpoint: CookieEndpoint(endpoint, rules)
