"""Sessions of users without an address: a project may allow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from velro_auth.auth.denylist import DenyList
from velro_auth.auth.login import ignore_token
from velro_auth.auth.models import Session
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.context import RequestContext
from velro_auth.errors import Busy
from velro_auth.guards import Guards
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


class AnonymousSignUps(Protocol):
    """Asks Supabase. While the settings are wrong, a twin refuses every call."""

    def sign_up(self, wanted: NewAnonymous, context: RequestContext, /) -> Session:
        """Return the session of a new anonymous user.

        Raises:
            NotEnabled: The project allows no anonymous users, or no sign-ups.
            CaptchaRequired: A captcha is required, or was refused.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """


@dataclass(frozen=True, kw_only=True)
class Anonymous:
    """Makes anonymous users, past the guards.

    Attributes:
        sign_ups: Asks Supabase.
        guards: Guards of the call.
        breaker: The circuit breaker of the call; not that of the logins.
        denied: The deny-list.
        note_token: Called with each issued access token; must not block.
    """

    sign_ups: AnonymousSignUps
    guards: Guards
    breaker: CircuitBreaker
    denied: DenyList
    note_token: Callable[[str], None] = ignore_token

    def __call__(self, wanted: NewAnonymous, context: RequestContext) -> Session:
        """Return the session of a new anonymous user; raises as :class:`AnonymousSignUps`.

        Raises:
            Throttled: This network made too many sign-ups.
            Unready: Too many calls are in progress, or the circuit breaker is open.
        """
        with self.guards.sign_ups.attempt(context.address), self.guards.failure_delay.permit():
            self.guards.families.acquire(self.guards.families.anonymous, context.address)
            mark = self.denied.mark()
            with self.guards.asking.bulkhead.permit(), self.breaker.attempt():
                session = self.sign_ups.sign_up(wanted, context)
        claims = claims_of_issued(session.access_token)
        if claims is not None and not self.denied.admits(claims, mark):
            # The user is new, so only a defective deny-list refuses the session.
            raise Busy("the session of a new user is denied", retry_after_s=1)
        self.note_token(session.access_token)
        context.shows_upstream = True
        return session
