"""Second factors (TOTP): list, enrol, challenge, verify, remove.

When a session steps up, Supabase deletes all other sessions of the user below ``aal2`` (recorded). Their access tokens
would be good until they expire, so they are denied here: all tokens of the user that say ``aal1`` and were issued
before, except those of the session that stepped up. A step-up never denies a token that says ``aal2``, because its
session may live on. Two kinds of tokens cannot be distinguished from others:

* A session that stepped up earlier may still hold an older ``aal1`` token. That token is refused now; a refresh, or
  the token that the step-up gave, has the right level.
* A session fell back to ``aal1``, because its factor was removed. Supabase deletes it, but its ``aal2`` tokens stay
  good until they expire.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from velro_auth.auth.denylist import BEFORE_ALL, end_of_lower_sessions
from velro_auth.auth.freshness import Freshness, Proof
from velro_auth.auth.models import Session
from velro_auth.auth.tokens import Claims, claims_of_issued
from velro_auth.auth.user_calls import UserCalls, guessing
from velro_auth.context import RequestContext
from velro_auth.errors import SessionGone


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A second factor, without its secret."""

    id: str
    type: str
    status: str
    friendly_name: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFactor:
    """A factor to enrol."""

    friendly_name: str | None = None
    issuer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A factor that was enrolled, and has to be verified once. The secrets are shown once.

    Attributes:
        qr_code: An SVG image of ``uri``, some 360 kB.
        secret: The key, in base32.
        uri: The same for an authenticator (``otpauth://``).
    """

    id: str
    friendly_name: str | None
    qr_code: str = field(repr=False)
    secret: str = field(repr=False)
    uri: str = field(repr=False)
    type: str = "totp"
    #: The answer as Supabase sent it, for Supabase's own clients.
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorChallenge:
    """A challenge of a factor; a code is verified against it.

    Attributes:
        expires_at: Seconds since the epoch.
    """

    id: str
    type: str
    expires_at: int
    #: The answer as Supabase sent it, for Supabase's own clients.
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)


class FactorCalls(Protocol):
    """Asks Supabase about the second factors of the user of an access token.

    Beside the errors below, each method raises TokenInvalid (SessionGone), UpstreamThrottled and UpstreamError; those
    with a factor's id raise NotFound for a factor that the user does not have.
    """

    def all(self, access_token: str, context: RequestContext, /) -> Sequence[Factor]:
        """Return the factors of the user."""

    def enrol(self, access_token: str, wanted: NewFactor, context: RequestContext, /) -> Enrolment:
        """Enrol an authenticator.

        Raises:
            InvalidRequest: Another factor has this name, or there are too many.
            InsufficientAal: Another factor has to be proven first.
            NotEnabled: The project, or the kind of user, has no such factors.
        """

    def challenge(self, access_token: str, factor_id: str, context: RequestContext, /) -> FactorChallenge:
        """Begin a proof.

        Raises:
            NotEnabled: The project has no such factors.
        """

    def verify(
        self, access_token: str, factor_id: str, challenge_id: str, code: str, context: RequestContext, /
    ) -> tuple[Session, float | None]:
        """Return the session, at ``aal2``, and when it stepped up, by Supabase's clock, if it says so.

        Raises:
            CodeInvalid: The code is wrong, or the challenge was used, has expired or is that of another address.
            NotEnabled: The project has no such factors.
        """

    def remove(self, access_token: str, factor_id: str, context: RequestContext, /) -> None:
        """Remove a factor.

        Raises:
            InsufficientAal: It is verified, so a second factor has to be proven first.
        """


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The second factors of the user of a token; the guards check each call first.

    Beside the errors named there, each method raises TokenError for a token that is refused here, Throttled for too
    many calls of one network, Unready, UpstreamThrottled and UpstreamError.

    Attributes:
        calls: Asks Supabase.
        user: Verifies tokens and guards the calls.
        enrolling: The same for enrolments, with a separate circuit breaker: the name that a user gives a factor could
            make Supabase fail, and that must not stop the proofs of others.
        freshness: Demands a recent sign-in or the current password.
    """

    calls: FactorCalls
    user: UserCalls
    enrolling: UserCalls
    freshness: Freshness

    def all(self, token: str, context: RequestContext) -> Sequence[Factor]:
        """Return the factors of the user; never their secrets."""
        self.user.claims(token, context)
        with self.user.asking(context):
            return self.calls.all(token, context)

    def enrol(self, token: str, wanted: NewFactor, proof: Proof, context: RequestContext) -> Enrolment:
        """Enrol an authenticator, after a proof of freshness; raises as :meth:`FactorCalls.enrol`.

        Raises:
            ReauthenticationNeeded: See :class:`Freshness`.
        """
        self.freshness.demand(self.user.claims(token, context), proof, context)
        with self.enrolling.asking(context):
            return self.calls.enrol(token, wanted, context)

    def challenge(self, token: str, factor_id: str, context: RequestContext) -> FactorChallenge:
        """Begin a proof; raises as :meth:`FactorCalls.challenge`."""
        self.user.claims(token, context)
        with self.user.asking(context):
            return self.calls.challenge(token, factor_id, context)

    def remove(self, token: str, factor_id: str, proof: Proof, context: RequestContext) -> None:
        """Remove a factor, after a proof of freshness; raises as :meth:`FactorCalls.remove`.

        Raises:
            ReauthenticationNeeded: See :class:`Freshness`.
        """
        self.freshness.demand(self.user.claims(token, context), proof, context)
        with self.user.asking(context):
            self.calls.remove(token, factor_id, context)

    def verify(
        self, token: str, factor_id: str, code: str, context: RequestContext, *, challenge_id: str | None = None
    ) -> Session:
        """Step up the session of a token, and end the user's other sessions below ``aal2``.

        The try is counted before Supabase is asked; a refusal is delayed by the failure delay. Both calls tell
        Supabase the same address, because it binds a challenge to the address.

        Args:
            token: The access token.
            factor_id: The factor.
            code: Its code.
            context: The request.
            challenge_id: The challenge; None makes one.

        Raises:
            CodeInvalid: See :meth:`FactorCalls.verify`.
            Throttled: Too many wrong codes for this factor.
            NotFound: The user has no such factor, or no such challenge.
            NotEnabled: The project has no such factors.
        """
        claims = self.user.claims(token, context)
        with self._counted(factor_id, claims, context):
            asked_id = challenge_id
            if asked_id is None:
                with self.user.asking_with_permit(context):
                    asked_id = self.calls.challenge(token, factor_id, context).id
            with self.user.asking_with_permit(context):
                session, at_s = self.calls.verify(token, factor_id, asked_id, code, context)
        return self._stepped_up(session, claims, at_s)

    def _stepped_up(self, session: Session, claims: Claims, at_s: float | None) -> Session:
        sessions = self.user.sessions
        sessions.note_token(session.access_token)
        at_s = sessions.now() if at_s is None else at_s
        sessions.denied.deny([end_of_lower_sessions(claims, at_s=at_s, until_s=sessions.last_end_s(claims))])
        issued = claims_of_issued(session.access_token)
        # It is the session of the token, which a logout may have ended meanwhile: even the oldest denial applies.
        if issued is not None and not sessions.denied.admits(issued, BEFORE_ALL):
            raise SessionGone("the session was ended")
        return session

    @contextlib.contextmanager
    def _counted(self, factor_id: str, claims: Claims, context: RequestContext) -> Iterator[None]:
        """Count a try of this factor, and delay a refusal."""
        guards = self.user.sessions.guards
        with (
            guessing(guards.factors.attempt(factor_id, claims.sub, context.address)),
            guards.failure_delay.hold(context.arrived_s, is_login=False),
        ):
            yield


def factor_of(values: Mapping[str, object]) -> Factor | None:
    """Read a factor of Supabase's user object; None for one without id and type."""
    given = {name: values.get(name) for name in ("id", "factor_type", "status")}
    if not all(isinstance(value, str) and value for value in given.values()):
        return None
    extra = {name: values.get(name) for name in ("friendly_name", "created_at", "updated_at")}
    texts = {name: value if isinstance(value, str) and value else None for name, value in extra.items()}
    return Factor(id=str(given["id"]), type=str(given["factor_type"]), status=str(given["status"]), **texts)
