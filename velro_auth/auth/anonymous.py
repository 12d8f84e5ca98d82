"""Sessions of users without an address: a project may allow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from velro_auth.auth.models import Session
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.guards.asking import CircuitBreaker


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAnonymous:
    """An anonymous user to be made.

    Attributes:
        data: What goes into ``user_metadata``.
        captcha_token: The solved captcha, where the project demands one.
    """

    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    captcha_token: str | None = field(default=None, repr=False)


#: Asks Supabase for the session of a new anonymous user. Raises NotEnabled if the project allows none, or no sign-ups;
#: CaptchaRequired, UpstreamThrottled, UpstreamError.
AnonymousSignUp: TypeAlias = Callable[[NewAnonymous, RequestContext], Session]


@dataclass(frozen=True, kw_only=True)
class Anonymous:
    """Makes anonymous users; the guards check each call first.

    Attributes:
        sign_up: Asks Supabase.
        sessions: Has the guards of the call, and records the session.
        breaker: The circuit breaker of the call; not that of the logins.
    """

    sign_up: AnonymousSignUp
    sessions: Sessions
    breaker: CircuitBreaker

    def __call__(self, wanted: NewAnonymous, context: RequestContext) -> Session:
        """Return the session of a new anonymous user; raises as :data:`AnonymousSignUp`.

        Raises:
            Throttled: This network made too many sign-ups.
            Unready: Too many calls are in progress, or the circuit breaker is open.
        """
        guards = self.sessions.guards
        with guards.sign_ups.attempt(context.address), guards.failure_delay.permit():
            guards.families.acquire(guards.families.anonymous, context.address)
            mark = self.sessions.denied.mark()
            with guards.asking.bulkhead.permit(context), self.breaker.attempt():
                session = self.sign_up(wanted, context)
        # The user is new, so only a defective deny-list refuses the session.
        self.sessions.admit(session, mark)
        context.shows_upstream = True
        return session
