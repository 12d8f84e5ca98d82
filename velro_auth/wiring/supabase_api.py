"""Builds ``/auth/v1/*`` over the same services, guards and state as the service's own API."""

from __future__ import annotations

from velro_auth.auth.freshness import Freshness
from velro_auth.auth.login import Login
from velro_auth.auth.new_sessions import NewSessions
from velro_auth.auth.oauth import HandoffCodes
from velro_auth.auth.passing import PassedCalls
from velro_auth.auth.proofs import Proofs
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.user_calls import UserCalls
from velro_auth.config.settings import Settings
from velro_auth.endpoints.supabase_api.client_keys import ClientKeys
from velro_auth.endpoints.supabase_api.mails import Mails
from velro_auth.endpoints.supabase_api.passed import PassedOnRoutes
from velro_auth.endpoints.supabase_api.routes import SupabaseApiEndpoint, routes
from velro_auth.endpoints.supabase_api.tokens import Tokens
from velro_auth.endpoints.supabase_api.users import Users
from velro_auth.upstream.accounts import SupabaseAccounts
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.passing import SupabasePassing
from velro_auth.upstream.users import SupabaseUsers
from velro_auth.web.redirects import allowed_redirect
from velro_auth.wiring.account import build_mailing, build_sign_ups
from velro_auth.wiring.oauth import build_exchange
from velro_auth.wiring.state import ApplicationState
from velro_auth.wiring.user import build_anonymous, build_changes, build_factors


def build_supabase_api(
    settings: Settings, state: ApplicationState, *, calls: AuthCalls, login: Login, sessions: Sessions
) -> SupabaseApiEndpoint | None:
    """Build the endpoint; None where it is off.

    Args:
        settings: The settings in force.
        state: The state of this process.
        calls: Asks Supabase Auth.
        login: The login service.
        sessions: The sessions service.
    """
    if not settings.auth_supabase_api:
        return None
    owners, breaker = state.upstream.owners, state.user.breaker
    accounts, users = SupabaseAccounts(calls, owners=owners), SupabaseUsers(calls, owners=owners)
    new_sessions = NewSessions(sessions=sessions)
    passed = PassedCalls(
        passing=SupabasePassing(calls, owners=owners),
        guards=sessions.guards,
        breaker=state.account.breaker,
        new_sessions=new_sessions,
        readers=UserCalls(sessions=sessions, breaker=sessions.guards.checks, kind="me"),
        user=UserCalls(sessions=sessions, breaker=breaker, kind="change"),
        freshness=Freshness(identity=sessions.identity, guards=sessions.guards),
    )
    keys = state.sealing_keys(settings)
    exchange = build_exchange(HandoffCodes(keys), calls=calls, owners=owners, sessions=sessions)
    mails = Mails(
        sign_up=build_sign_ups(settings, state.account, accounts, sessions),
        anonymous=build_anonymous(users, sessions, state.user.anonymous),
        mailing=build_mailing(settings, sessions),
        proofs=Proofs(
            accounts=accounts, guards=sessions.guards, breaker=state.account.breaker, new_sessions=new_sessions
        ),
        calls=passed,
    )
    table = routes(
        Tokens(login, sessions, exchange, passed),
        mails,
        Users(build_changes(users, sessions, breaker), build_factors(calls, owners, sessions, state.user), passed),
        PassedOnRoutes(passed),
    )
    return SupabaseApiEndpoint(
        ClientKeys(settings.client_keys),
        table,
        tuple(map(allowed_redirect, settings.redirect_urls)),
        settings.supabase_url,
        settings.auth_max_body_bytes,
    )
