"""Builds the services and endpoints of sign-up, confirmation and recovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from velro_auth.auth.mailing import Mailing, MailRequests
from velro_auth.auth.new_sessions import NewSessions
from velro_auth.auth.password_reset import Confirmation, PasswordReset, PasswordSetter
from velro_auth.auth.proofs import Proofs
from velro_auth.auth.sealing import Sealer
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.sign_up import SignUps
from velro_auth.auth.tickets import Tickets
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.account import ForgotEndpoint, MailFlows, OtpEndpoint, ResendEndpoint, SignUpEndpoint
from velro_auth.endpoints.confirmation import ConfirmEndpoint, ResetEndpoint
from velro_auth.guards.asking import CircuitBreaker
from velro_auth.guards.challenges import Spent
from velro_auth.upstream.accounts import SupabaseAccounts
from velro_auth.upstream.answers import Owners
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.sign_up_mode import LearntSignUpMode, MailSignUpMode
from velro_auth.upstream.transport.transport import Transport
from velro_auth.web.flow_cookies import FlowCookies
from velro_auth.web.redirects import allowed_redirect
from velro_auth.wiring.user import UserState, build_factors

ENDPOINTS: Final = (SignUpEndpoint, ResendEndpoint, OtpEndpoint, ForgotEndpoint, ConfirmEndpoint, ResetEndpoint)


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """What these services share with those that replace them at a settings reload.

    Attributes:
        mode: Whether the project has new addresses confirmed by mail.
        breaker: The circuit breaker of sign-ups, confirmations and resets.
    """

    mode: LearntSignUpMode | MailSignUpMode
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)


def open_account(transport: Transport | None) -> AccountState:
    """Return the state of services that have seen no request; without *transport* the settings are wrong."""
    return AccountState(mode=MailSignUpMode() if transport is None else LearntSignUpMode(transport))


def build_account(
    settings: Settings,
    state: AccountState,
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
        state: Shared with the earlier services, which still serve the requests under way.
        calls: Asks Supabase Auth.
        owners: The user that each refresh token was issued to.
        sessions: The sessions service.
        setter: Sets passwords, from :func:`build_setter`.
        keys: Seal cookies.
    """
    accounts = SupabaseAccounts(calls, owners=owners)
    mailing = build_mailing(settings, sessions)
    flows = MailFlows(
        FlowCookies(keys, public_url=settings.auth_public_url),
        [allowed_redirect(entry) for entry in settings.redirect_urls],
    )
    mails = MailRequests(accounts=accounts, mailing=mailing)
    sign_ups = build_sign_ups(settings, state, accounts, sessions)
    proofs = setter.proofs
    most = settings.auth_max_body_bytes
    return (
        SignUpEndpoint(sign_ups, flows, most),
        ResendEndpoint(mails, flows, most),
        OtpEndpoint(mails, flows, most),
        ForgotEndpoint(mails, flows, most),
        ConfirmEndpoint(Confirmation(proofs=proofs, setter=setter), most),
        ResetEndpoint(PasswordReset(proofs=proofs, setter=setter), most),
    )


def build_setter(
    state: AccountState,
    user: UserState,
    *,
    calls: AuthCalls,
    owners: Owners,
    sessions: Sessions,
    spent: Spent,
    keys: Sequence[bytes],
) -> PasswordSetter:
    """Build the service that sets passwords with mailed links and codes.

    Args:
        state: Shared with the earlier services, which still serve the requests under way.
        user: The same, of the services of users.
        calls: Asks Supabase Auth.
        owners: The user that each refresh token was issued to.
        sessions: The sessions service.
        spent: Remembers which tickets were used.
        keys: Seal tickets.
    """
    accounts, new_sessions = SupabaseAccounts(calls, owners=owners), NewSessions(sessions=sessions)
    return PasswordSetter(
        accounts=accounts,
        proofs=Proofs(accounts=accounts, guards=sessions.guards, breaker=state.breaker, new_sessions=new_sessions),
        pass_factor=build_factors(calls, owners, sessions, user).verify,
        new_sessions=new_sessions,
        tickets=Tickets(sealer=Sealer(keys, "ticket"), spent=spent, denies=sessions.denied.denies),
    )


def build_mailing(settings: Settings, sessions: Sessions) -> Mailing:
    """Build the guards of requests that may send a mail."""
    return Mailing(guards=sessions.guards, unusable="; ".join(map(str, settings.errors)))


def build_sign_ups(settings: Settings, state: AccountState, accounts: SupabaseAccounts, sessions: Sessions) -> SignUps:
    """Build the sign-up service."""
    return SignUps(
        accounts=accounts,
        guards=sessions.guards,
        mailing=build_mailing(settings, sessions),
        breaker=state.breaker,
        new_sessions=NewSessions(sessions=sessions),
        mode=state.mode,
    )
