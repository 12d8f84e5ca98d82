"""Builds what serves a user with a session: password, profile, second factors; and anonymous users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from velro_auth.auth.anonymous import Anonymous
from velro_auth.auth.factors import Factors
from velro_auth.auth.freshness import Freshness
from velro_auth.auth.models import Identity, Profiles
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.user_changes import UserChanges
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.factors import (
    FactorChallengeEndpoint,
    FactorEndpoint,
    FactorsEndpoint,
    FactorVerifyEndpoint,
)
from velro_auth.endpoints.user import (
    AnonymousEndpoint,
    MeEndpoint,
    PasswordEndpoint,
    ProfileChange,
    ProfileEndpoint,
    ReauthenticateEndpoint,
)
from velro_auth.guards import Guards
from velro_auth.upstream.answers import Owners
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.factors import SupabaseFactors
from velro_auth.upstream.users import SupabaseUsers
from velro_auth.web.redirects import allowed_redirect

#: The classes of the endpoints that :func:`build_user` builds.
USER_ENDPOINTS: Final = (
    MeEndpoint,
    ProfileEndpoint,
    PasswordEndpoint,
    ReauthenticateEndpoint,
    FactorsEndpoint,
    FactorEndpoint,
    FactorChallengeEndpoint,
    FactorVerifyEndpoint,
    AnonymousEndpoint,
)


def build_user(
    settings: Settings,
    *,
    calls: AuthCalls,
    identity: Identity,
    sessions: Sessions,
    guards: Guards,
    profiles: Profiles | None,
    owners: Owners,
    note_token: Callable[[str], None],
) -> tuple[Endpoint, ...]:
    """Build the endpoints of :data:`USER_ENDPOINTS`, in that order.

    Args:
        settings: The settings in force.
        calls: Asks Supabase Auth.
        identity: Checks passwords.
        sessions: Verifies tokens and ends sessions.
        guards: The guards of the calls.
        profiles: Reads and writes the profile row; None while the settings are wrong.
        owners: The user that each refresh token was issued to.
        note_token: Called with each issued access token.
    """
    users, freshness = SupabaseUsers(calls, owners=owners), Freshness(identity=identity, guards=guards)
    changes = UserChanges(users=users, sessions=sessions, freshness=freshness, guards=guards, profiles=profiles)
    factors = Factors(
        calls=SupabaseFactors(calls, owners=owners),
        sessions=sessions,
        freshness=freshness,
        guards=guards,
        note_token=note_token,
    )
    anonymous = Anonymous(sign_ups=users, guards=guards, denied=sessions.denied, note_token=note_token)
    max_body_bytes = settings.auth_max_body_bytes
    redirects = tuple(map(allowed_redirect, settings.auth_redirect_urls))
    profile = ProfileChange(sessions, changes, max_body_bytes, redirects)
    return (
        MeEndpoint(sessions, profile),
        ProfileEndpoint(profile),
        PasswordEndpoint(changes, max_body_bytes),
        ReauthenticateEndpoint(changes),
        FactorsEndpoint(factors, max_body_bytes),
        FactorEndpoint(factors, max_body_bytes),
        FactorChallengeEndpoint(factors),
        FactorVerifyEndpoint(factors, max_body_bytes),
        AnonymousEndpoint(anonymous, max_body_bytes),
    )
