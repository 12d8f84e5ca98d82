"""Builds what serves a user with a session: password, profile, second factors; and anonymous users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from velro_auth.auth.anonymous import Anonymous
from velro_auth.auth.factors import Factors
from velro_auth.auth.freshness import Freshness
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.user_calls import UserCalls
from velro_auth.auth.user_changes import UserChanges
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.account import MailFlows
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
from velro_auth.guards.asking import CircuitBreaker
from velro_auth.upstream.answers import Owners
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.factors import SupabaseFactors
from velro_auth.upstream.users import SupabaseUsers
from velro_auth.web.flow_cookies import FlowCookies
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


@dataclass(frozen=True, kw_only=True)
class UserState:
    """What these services share with those that replace them at a settings reload.

    Attributes:
        breaker: The circuit breaker of calls that change a user.
        factors: The one of proofs of second factors.
        enrolments: The one of enrolments.
        anonymous: The one of anonymous users.
    """

    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    factors: CircuitBreaker = field(default_factory=CircuitBreaker)
    enrolments: CircuitBreaker = field(default_factory=CircuitBreaker)
    anonymous: CircuitBreaker = field(default_factory=CircuitBreaker)


def build_user(
    settings: Settings,
    state: UserState,
    *,
    calls: AuthCalls,
    sessions: Sessions,
    owners: Owners,
    keys: Sequence[bytes],
) -> tuple[Endpoint, ...]:
    """Build the endpoints of :data:`USER_ENDPOINTS`, in that order.

    Args:
        settings: The settings in force.
        state: Shared with the earlier services, which still serve the requests under way.
        calls: Asks Supabase Auth.
        sessions: Verifies tokens and ends sessions.
        owners: The user that each refresh token was issued to.
        keys: Seal cookies.
    """
    users = SupabaseUsers(calls, owners=owners)
    changes = build_changes(users, sessions, state.breaker)
    factors = build_factors(calls, owners, sessions, state)
    anonymous = build_anonymous(users, sessions, state.anonymous)
    return _endpoints(settings, sessions, changes, factors, anonymous, keys=keys)


def build_changes(users: SupabaseUsers, sessions: Sessions, breaker: CircuitBreaker) -> UserChanges:
    """Build the service of what users change about themselves."""
    return UserChanges(
        users=users,
        user=UserCalls(sessions=sessions, breaker=breaker, kind="change"),
        freshness=Freshness(identity=sessions.identity, guards=sessions.guards),
        profiles=sessions.profiles,
    )


def build_anonymous(users: SupabaseUsers, sessions: Sessions, breaker: CircuitBreaker) -> Anonymous:
    """Build the service that makes anonymous users."""
    return Anonymous(
        sign_ups=users,
        guards=sessions.guards,
        breaker=breaker,
        denied=sessions.denied,
        note_token=sessions.note_token,
    )


def build_factors(calls: AuthCalls, owners: Owners, sessions: Sessions, state: UserState) -> Factors:
    """Build the service of second factors."""
    return Factors(
        calls=SupabaseFactors(calls, owners=owners),
        user=UserCalls(sessions=sessions, breaker=state.factors, kind="factors"),
        enrolling=UserCalls(sessions=sessions, breaker=state.enrolments, kind="factors"),
        freshness=Freshness(identity=sessions.identity, guards=sessions.guards),
        note_token=sessions.note_token,
    )


def _endpoints(
    settings: Settings,
    sessions: Sessions,
    changes: UserChanges,
    factors: Factors,
    anonymous: Anonymous,
    *,
    keys: Sequence[bytes],
) -> tuple[Endpoint, ...]:
    max_body_bytes = settings.auth_max_body_bytes
    flows = MailFlows(
        FlowCookies(keys, public_url=settings.auth_public_url),
        tuple(map(allowed_redirect, settings.redirect_urls)),
    )
    profile = ProfileChange(sessions, changes, max_body_bytes, flows)
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
