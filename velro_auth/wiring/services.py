"""Builds the services from one version of the settings, each when it is first needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from velro_auth.auth.anonymous import Anonymous
from velro_auth.auth.factors import Factors
from velro_auth.auth.freshness import Freshness
from velro_auth.auth.introspection import RemoteIntrospector, TokenIntrospector
from velro_auth.auth.login import Login
from velro_auth.auth.mailing import Mailing
from velro_auth.auth.oauth import CodeExchange, HandoffCodes
from velro_auth.auth.passing import PassedCalls
from velro_auth.auth.password_reset import PasswordSetter
from velro_auth.auth.proofs import Proofs
from velro_auth.auth.sealing import Sealer
from velro_auth.auth.session_list import SessionList
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.sign_up import SignUps
from velro_auth.auth.tickets import Tickets
from velro_auth.auth.user_calls import UserCalls
from velro_auth.auth.user_changes import UserChanges
from velro_auth.config.settings import Settings
from velro_auth.endpoints.account import MailFlows
from velro_auth.guards import Guards
from velro_auth.guards.enforcement import Enforcement
from velro_auth.upstream.accounts import SupabaseAccounts
from velro_auth.upstream.calls import AuthCalls, RefusingCalls
from velro_auth.upstream.factors import SupabaseFactors
from velro_auth.upstream.identity import SupabaseIdentity
from velro_auth.upstream.passing import SupabasePassing
from velro_auth.upstream.session_rows import SupabaseSessionRows
from velro_auth.upstream.users import SupabaseUsers
from velro_auth.web.flow_cookies import FlowCookies
from velro_auth.web.redirects import AllowedRedirect, allowed_redirect
from velro_auth.web.session_cookies import SessionCookies
from velro_auth.wiring.guards import build_guards
from velro_auth.wiring.sessions import ask_limits
from velro_auth.wiring.state import ApplicationState


class Services:
    """All services of one version of the settings.

    Args:
        settings: The settings in force.
        state: Shared with the earlier services, which still serve the requests under way.
    """

    def __init__(self, settings: Settings, state: ApplicationState) -> None:
        self.settings: Final = settings
        self.state: Final = state
        self.max_body_bytes: Final = settings.auth_max_body_bytes
        self.redirects: Final[Sequence[AllowedRedirect]] = tuple(map(allowed_redirect, settings.redirect_urls))
        self._keys: Final = state.sealing_keys(settings)
        self._unusable: Final = "; ".join(map(str, settings.errors))

    @functools.cached_property
    def calls(self) -> AuthCalls:
        """Asks Supabase Auth."""
        settings, upstream = self.settings, self.state.upstream
        if upstream.transport is None:
            return RefusingCalls(self._unusable)
        return AuthCalls(
            upstream.transport,
            forwards_address=settings.forwards_client_ip,
            captcha=upstream.captcha,
            owners=upstream.owners,
        )

    @functools.cached_property
    def identity(self) -> SupabaseIdentity:
        """Asks Supabase about users."""
        return SupabaseIdentity(self.calls)

    @functools.cached_property
    def guards(self) -> Guards:
        """The guards of calls to Supabase."""
        telemetry = self.state.telemetry
        metrics = telemetry.metrics
        return build_guards(
            self.settings,
            self.state.guards,
            on_refused=metrics.record_throttled,
            on_challenge=metrics.record_challenge,
            on_withheld=telemetry.record_withheld_mail,
            enforcement=Enforcement(
                is_on=self.settings.auth_guards == "on",
                on_refused=metrics.record_budget_refused,
                on_reported=metrics.record_reported,
                on_good=metrics.record_reported_good,
            ),
        )

    @functools.cached_property
    def sessions(self) -> Sessions:
        """Refreshes, verifies and ends sessions."""
        state, guards = self.state.sessions, self.guards
        remote = RemoteIntrospector(
            limits=ask_limits(self.settings), permit=guards.failure_delay.permit, state=state.introspection
        )
        return Sessions(
            identity=self.identity,
            guards=guards,
            refreshes=state.refreshes,
            verifier=state.verifier,
            introspector=TokenIntrospector(verifier=state.introspected, remote=remote),
            denied=state.denied,
            profiles=self.state.upstream.profiles,
            is_strict=self.settings.auth_verify_mode == "strict",
            note_token=self.state.telemetry.issued_tokens.record,
        )

    @functools.cached_property
    def login(self) -> Login:
        """Logs users in."""
        sessions = self.sessions
        return Login(
            identity=self.identity,
            guards=self.guards,
            denied=sessions.denied,
            profiles=None if self.settings.auth_fast_login else sessions.profiles,
            note_token=sessions.note_token,
        )

    @functools.cached_property
    def session_list(self) -> SessionList:
        """Lists and ends the sessions of a user."""
        settings, upstream = self.settings, self.state.upstream

        def shows_address() -> bool:
            return settings.forwards_client_ip and not upstream.one_address()

        transport = upstream.transport
        rows = SupabaseSessionRows(transport, shows_address=shows_address) if transport is not None else None
        return SessionList(sessions=self.sessions, rows=rows)

    @functools.cached_property
    def freshness(self) -> Freshness:
        """Demands a recent sign-in or the current password."""
        return Freshness(identity=self.identity, guards=self.guards)

    @functools.cached_property
    def changing(self) -> UserCalls:
        """Guards calls that change a user."""
        return UserCalls(sessions=self.sessions, breaker=self.state.account.changes, kind="change")

    @functools.cached_property
    def users(self) -> SupabaseUsers:
        """Asks Supabase to change users, and for anonymous ones."""
        return SupabaseUsers(self.calls)

    @functools.cached_property
    def changes(self) -> UserChanges:
        """Changes what users may change about themselves."""
        return UserChanges(
            users=self.users, user=self.changing, freshness=self.freshness, profiles=self.sessions.profiles
        )

    @functools.cached_property
    def anonymous(self) -> Anonymous:
        """Makes anonymous users."""
        return Anonymous(sign_up=self.users.sign_up, sessions=self.sessions, breaker=self.state.account.anonymous)

    @functools.cached_property
    def factors(self) -> Factors:
        """The second factors of users."""
        sessions, account = self.sessions, self.state.account
        return Factors(
            calls=SupabaseFactors(self.calls),
            user=UserCalls(sessions=sessions, breaker=account.factors, kind="factors"),
            enrolling=UserCalls(sessions=sessions, breaker=account.enrolments, kind="factors"),
            freshness=self.freshness,
        )

    @functools.cached_property
    def accounts(self) -> SupabaseAccounts:
        """Asks Supabase about sign-ups, mails, links and codes."""
        return SupabaseAccounts(self.calls)

    @functools.cached_property
    def mailing(self) -> Mailing:
        """Guards requests that may send a mail."""
        return Mailing(accounts=self.accounts, guards=self.guards, unusable=self._unusable)

    @functools.cached_property
    def sign_ups(self) -> SignUps:
        """Makes accounts."""
        account = self.state.account
        return SignUps(
            accounts=self.accounts,
            sessions=self.sessions,
            mailing=self.mailing,
            breaker=account.breaker,
            mode=account.mode,
        )

    @functools.cached_property
    def proofs(self) -> Proofs:
        """Has mailed links and codes checked."""
        return Proofs(accounts=self.accounts, sessions=self.sessions, breaker=self.state.account.breaker)

    @functools.cached_property
    def setter(self) -> PasswordSetter:
        """Sets passwords with mailed links and codes."""
        tickets = Tickets(
            sealer=Sealer(self._keys, "ticket"),
            spent=self.state.guards.challenges.spent,
            denies=self.sessions.denied.denies,
        )
        return PasswordSetter(
            accounts=self.accounts,
            proofs=self.proofs,
            codes=self.exchange,
            pass_factor=self.factors.verify,
            tickets=tickets,
        )

    @functools.cached_property
    def exchange(self) -> CodeExchange:
        """Exchanges codes for sessions."""
        return CodeExchange(grant=self.identity.exchange, handoffs=HandoffCodes(self._keys), sessions=self.sessions)

    @functools.cached_property
    def passed(self) -> PassedCalls:
        """Passes calls of Supabase's own clients on."""
        return PassedCalls(
            ask=SupabasePassing(self.calls).ask,
            sessions=self.sessions,
            breaker=self.state.account.breaker,
            readers=UserCalls(sessions=self.sessions, breaker=self.guards.checks, kind="me"),
            user=self.changing,
            freshness=self.freshness,
        )

    @functools.cached_property
    def flows(self) -> MailFlows:
        """Begins flows that go by mail; its cookies keep all flows."""
        return MailFlows(FlowCookies(self._keys, public_url=self.settings.auth_public_url), self.redirects)

    @functools.cached_property
    def session_cookies(self) -> SessionCookies:
        """Keeps sessions in the browser."""
        return SessionCookies(self._keys, public_url=self.settings.auth_public_url)
