"""Calls of Supabase's own clients: the guards check them, then they are passed on as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from velro_auth.auth.freshness import Freshness, Proof
from velro_auth.auth.models import Session
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.user_calls import UserCalls
from velro_auth.context import RequestContext
from velro_auth.guards.asking import CircuitBreaker

#: What kind of question a call is, which decides what a refusal means.
Kind: TypeAlias = Literal["public", "mail", "verify", "user", "address", "grant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call to pass on. Method and path are ours, never text of the caller.

    Attributes:
        kind: What is asked.
        method: The method.
        path: The path below ``/auth/v1``.
        query: Parameters.
        body: JSON values, a form as it came, or None.
        bearer: The user's access token; empty for none.
        account: The mail address or phone number that the session of the answer has to be for; None for any.
    """

    kind: Kind
    method: str
    path: str
    query: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: Mapping[str, Any] | bytes | None = field(default=None, repr=False)
    bearer: str = field(default="", repr=False)
    account: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Passed:
    """Supabase's answer to a call.

    Attributes:
        status: 200, 204 or a redirect.
        headers: Those that may go on to the client.
        body: The body.
        content: The body as JSON values; None where it is none.
        session: The session in it, if there is one.
        at_s: When Supabase answered, by its own clock, if it says so.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)
    content: Any = field(default=None, repr=False)
    session: Session | None = None
    at_s: float | None = None


#: Asks Supabase for one of its own clients. Raises a VelroAuthError for a refusal, whose ``told`` has the words of
#: Supabase; UpstreamThrottled, UpstreamError.
Ask: TypeAlias = Callable[[Call, RequestContext], Passed]


@dataclass(frozen=True, kw_only=True)
class PassedCalls:
    """Passes calls on; the guards check each call first.

    Beside the errors of :data:`Ask`, each method raises Throttled for too many calls of one network, and Unready.

    Attributes:
        ask: Asks Supabase.
        sessions: Has the guards of the calls, and records new sessions.
        breaker: The circuit breaker of calls without a user.
        readers: Verifies tokens, and guards the calls that only read.
        user: Does the same for calls that change a user.
        freshness: Demands a recent sign-in or the current password.
    """

    ask: Ask
    sessions: Sessions
    breaker: CircuitBreaker
    readers: UserCalls
    user: UserCalls
    freshness: Freshness

    def public(self, call: Call, context: RequestContext) -> Passed:
        """Pass on a call without a user."""
        guards = self.sessions.guards
        with (
            guards.failure_delay.permit(),
            guards.sessions.permit("me", context.address, context),
            self.breaker.attempt(),
        ):
            return self.ask(call, context)

    def grant(self, call: Call, context: RequestContext) -> Session:
        """Pass on a grant other than those with a password or a refresh token, and return the new session.

        Raises:
            LinkInvalid, PassedOn: Supabase refused the proof; answered at a fixed time.
            Busy: The user's sessions are being ended.
        """
        guards = self.sessions.guards
        with (
            guards.failure_delay.hold(context.arrived_s, is_login=False),
            guards.sessions.permit("proof", context.address, context),
        ):
            guards.rate_limit.acquire(is_known=False)
            mark = self.sessions.denied.mark()
            with guards.asking(context):
                passed = self.ask(call, context)
        assert passed.session is not None, "the answer to a grant has a session"
        context.log_fields["account"] = guards.throttle.name(passed.session.user.email or passed.session.user.id)
        return self.sessions.admit(passed.session, mark)

    def read(self, call: Call, context: RequestContext) -> Passed:
        """Pass on a call that reads something of a user.

        Raises:
            TokenError: The token is refused here; Supabase was not asked.
        """
        self.readers.claims(call.bearer, context)
        with self.readers.asking(context):
            return self.ask(call, context)

    def change(self, call: Call, context: RequestContext, *, proof: Proof | None = None) -> Passed:
        """Pass on a call that changes a user; with *proof*, after a proof of freshness.

        Raises:
            TokenError: The token is refused here; Supabase was not asked.
            ReauthenticationNeeded: See :class:`Freshness`.
        """
        claims = self.user.claims(call.bearer, context)
        if proof is not None:
            self.freshness.demand(claims, proof, context)
        with self.user.asking(context):
            return self.ask(call, context)
