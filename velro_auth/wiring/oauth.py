"""Builds the endpoints of sign-in with a provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from velro_auth.auth.new_sessions import NewSessions
from velro_auth.auth.oauth import CodeExchange, HandoffCodes
from velro_auth.auth.password_reset import ConfirmingExchange, PasswordSetter
from velro_auth.auth.sessions import Sessions
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.oauth import AuthorizeEndpoint, CallbackEndpoint, ExchangeEndpoint
from velro_auth.upstream.answers import Owners
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.oauth import SupabaseCodes
from velro_auth.web.flow_cookies import FlowCookies
from velro_auth.web.redirects import allowed_redirect

#: The classes of the endpoints that :func:`build_oauth` builds.
OAUTH_ENDPOINTS: Final = (AuthorizeEndpoint, CallbackEndpoint, ExchangeEndpoint)


def build_oauth(
    settings: Settings,
    *,
    calls: AuthCalls,
    owners: Owners,
    sessions: Sessions,
    setter: PasswordSetter,
    keys: Sequence[bytes],
) -> tuple[Endpoint, ...]:
    """Build the endpoints.

    Args:
        settings: The settings in force.
        calls: Asks Supabase Auth.
        owners: Learns which user a refresh token was given to.
        sessions: The sessions service.
        setter: Sets the password of a user who comes from a mailed link.
        keys: Seal cookies and codes.
    """
    flows, handoffs = FlowCookies(keys, public_url=settings.auth_public_url), HandoffCodes(keys)
    allowed = tuple(map(allowed_redirect, settings.redirect_urls))
    exchange = build_exchange(handoffs, calls=calls, owners=owners, sessions=sessions)
    return (
        AuthorizeEndpoint(
            settings.supabase_url, settings.auth_public_url, allowed, flows, settings.auth_cookie_sessions
        ),
        CallbackEndpoint(allowed, flows, handoffs, exchange, settings.auth_cookie_sessions),
        ExchangeEndpoint(ConfirmingExchange(exchange=exchange, setter=setter), flows, settings.auth_max_body_bytes),
    )


def build_exchange(handoffs: HandoffCodes, *, calls: AuthCalls, owners: Owners, sessions: Sessions) -> CodeExchange:
    """Build the service that exchanges codes for sessions."""
    return CodeExchange(
        grant=SupabaseCodes(calls, owners=owners),
        handoffs=handoffs,
        guards=sessions.guards,
        new_sessions=NewSessions(sessions=sessions),
    )
