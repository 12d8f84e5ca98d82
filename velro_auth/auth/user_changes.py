"""What users change about themselves: password, mail address, display name, picture."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from velro_auth.auth.freshness import Freshness, Proof
from velro_auth.auth.models import Profile, Profiles
from velro_auth.auth.tokens import Claims
from velro_auth.auth.user_calls import UserCalls, guessing
from velro_auth.context import RequestContext
from velro_auth.errors import (
    AlreadyRegistered,
    CaptchaRequired,
    InsufficientAal,
    InvalidRequest,
    Throttled,
    TokenError,
    Unready,
    VelroAuthError,
)
from velro_auth.guards.mails import MailPermit

log = logging.getLogger(__name__)

#: Errors of a call that may send a mail which depend on the request and its own user alone. All others could reveal
#: whether an address has an account: "taken", "too soon", a mail server that fails.
TELLABLE: Final = (InvalidRequest, CaptchaRequired, InsufficientAal, TokenError, Throttled, Unready)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """A new password; its ``repr`` shows none of it.

    Attributes:
        password: Passed on exactly as given.
        nonce: The mailed code of ``POST /reauthenticate``, for projects that demand one. Only passed on.
        proof: Proves who the user is.
    """

    password: str = field(repr=False)
    nonce: str | None = field(default=None, repr=False)
    proof: Proof = field(default_factory=Proof, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAddress:
    """A new mail address.

    Attributes:
        email: The address.
        redirect_to: Where the link in the mail leads; None for the project's own page.
        code_challenge: The PKCE challenge (S256), so that a default link ends in a code; None for none.
    """

    email: str = field(repr=False)
    redirect_to: str | None = None
    code_challenge: str | None = field(default=None, repr=False)


class Users(Protocol):
    """Asks Supabase to change the user of an access token. While the settings are wrong, every call is refused.

    Beside the errors below, each method raises TokenInvalid (SessionGone), UpstreamThrottled and UpstreamError.
    """

    def change_password(self, access_token: str, change: NewPassword, context: RequestContext, /) -> float | None:
        """Set a new password, which ends all other sessions; return when, by Supabase's clock, if it says so.

        Raises:
            WeakPassword: Supabase does not accept the password.
            SamePassword: It is the old one.
            InsufficientAal: A second factor has to be proven first.
            ReauthenticationNeeded: The project demands a nonce, or the current password.
            LinkInvalid: The nonce is wrong, was used or has expired.
            InvalidRequest: The user cannot have a password, or not this one.
        """

    def change_address(self, access_token: str, change: NewAddress, context: RequestContext, /) -> None:
        """Ask for another mail address. It stays pending until it is confirmed.

        Raises:
            AlreadyRegistered: The address is that of another user.
            InsufficientAal: A second factor has to be proven first.
            InvalidRequest: Supabase does not accept the address.
        """

    def change_metadata(self, access_token: str, values: Mapping[str, str | None], context: RequestContext, /) -> None:
        """Write members of ``user_metadata``; None removes one."""

    def mail_nonce(self, access_token: str, context: RequestContext, /) -> None:
        """Mail a code that proves who the user is.

        Raises:
            InvalidRequest: The user has no address.
        """


@dataclass(frozen=True, kw_only=True)
class UserChanges:
    """Changes the user of a token; the guards check each call first.

    Attributes:
        users: Asks Supabase.
        user: Verifies tokens and guards the calls.
        freshness: Demands a recent sign-in or the current password.
        profiles: Writes the profile row; None while the settings are wrong.
    """

    users: Users
    user: UserCalls
    freshness: Freshness
    profiles: Profiles | None = None

    def change_password(self, token: str, change: NewPassword, context: RequestContext) -> None:
        """Set a new password and end all other sessions of the user.

        Supabase deletes the other sessions. Their access tokens would be good until they expire, so they are denied
        here as well, in the same way as after a logout with ``scope=others``.

        Raises:
            TokenError: The token is refused; Supabase was not asked.
            ReauthenticationNeeded: See :class:`Freshness`; or the project demands a nonce.
            WeakPassword: Supabase does not accept the password.
            SamePassword: It is the old one.
            InsufficientAal: A second factor has to be proven first.
            LinkInvalid: The nonce is wrong, was used or has expired.
            InvalidRequest: The user cannot have a password, or not this one.
            Throttled: Too many wrong passwords, nonces, or calls of this network.
            Unready: Too many calls are in progress, or the circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        self.change_password_with(token, change, context, lambda: self.users.change_password(token, change, context))

    def change_password_with(
        self, token: str, change: NewPassword, context: RequestContext, ask: Callable[[], float | None]
    ) -> None:
        """Do the same with *ask*, which sets the password and returns when, by Supabase's clock."""
        claims = self.user.claims(token, context)
        self.freshness.demand(claims, change.proof, context)
        with self._nonce_budget(claims, change), self.user.asking(context):
            at_s = ask()
        self.user.sessions.end_others(claims, at_s)

    def change_profile(self, token: str, values: Mapping[str, str | None], context: RequestContext) -> Profile | None:
        """Write ``display_name`` or ``avatar_url`` to the profile row and to ``user_metadata``; None clears one.

        ``me`` reads the row. The tokens contain the metadata, and a project without the table has only the metadata.
        The row is written first: if that is impossible for now, nothing was changed.

        Returns:
            The written row; None where the project has none.

        Raises:
            TokenError: The token is refused.
            Throttled: This network made too many calls.
            Unready: Too many calls are in progress, or the circuit breaker is open.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        claims = self.user.claims(token, context)
        with self.user.asking(context):
            profile = self.profiles.change(token, claims.sub, values) if self.profiles is not None else None
        metadata = dict(values)
        if "display_name" in metadata:
            metadata["full_name"] = metadata["display_name"]
        with self.user.asking(context):
            self.users.change_metadata(token, metadata, context)
        return profile

    def check_freshness(self, token: str, proof: Proof, context: RequestContext) -> None:
        """Return if the user of a good token has just proven who they are; raises as :meth:`Freshness.demand`."""
        self.freshness.demand(self.user.claims(token, context), proof, context)

    def change_address(self, token: str, change: NewAddress, context: RequestContext) -> None:
        """Ask for another mail address, which stays pending until it is confirmed. :meth:`check_freshness` first.

        Answered at the mail delay, and in the same way whether or not the address is that of another user.

        Raises:
            TokenError: The token is refused.
            InsufficientAal: A second factor has to be proven first.
            InvalidRequest: Supabase does not accept the address.
            Throttled: This network made too many calls.
            Unready: Too many calls are in progress, or the circuit breaker is open.
        """
        self.change_address_with(
            token, change.email, context, lambda behind: self.users.change_address(token, change, behind)
        )

    def change_address_with(
        self, token: str, address: str, context: RequestContext, ask: Callable[[RequestContext], None]
    ) -> None:
        """Do the same with *ask*, which asks Supabase on behalf of the given request."""
        self.user.claims(token, context)
        behind = _detached(context)

        def call() -> None:
            with self.user.asking_with_permit(behind), contextlib.suppress(AlreadyRegistered):
                ask(behind)

        self._mail(address, call, context)

    def mail_nonce(self, token: str, context: RequestContext) -> None:
        """Mail the user of a token a code that proves who they are. Answered at the mail delay.

        Raises:
            TokenError: The token is refused.
            InvalidRequest: The user has no address.
            Throttled: This network made too many calls.
            Unready: Too many calls are in progress, or the circuit breaker is open.
        """
        claims, behind = self.user.claims(token, context), _detached(context)
        if not claims.email:
            raise InvalidRequest({"email": ["The user has no mail address."]})

        def call() -> None:
            with self.user.asking_with_permit(behind):
                self.users.mail_nonce(token, behind)

        self._mail(claims.email, call, context, is_own=True)

    def _mail(self, account: str, call: Callable[[], None], context: RequestContext, *, is_own: bool = False) -> None:
        """Have a mail sent; *is_own*: to the address of the caller, of which nothing has to be hidden."""
        permit = self.user.sessions.guards.mails.take(account, context.address)
        failure = self.user.sessions.guards.mail_delay.run(
            call if permit else _send_nothing, context.arrived_s, address=context.address
        )
        if isinstance(failure, TELLABLE) and (is_own or permit is MailPermit.ALLOWED):
            raise failure
        if isinstance(failure, VelroAuthError):
            log.warning("A mail was not sent: %s", failure.reason, extra={"error": type(failure).__name__})
        elif failure is not None:
            raise failure

    def _nonce_budget(self, claims: Claims, change: NewPassword) -> AbstractContextManager[None]:
        """Count a nonce as a try of a mailed code."""
        if change.nonce is None:
            return contextlib.nullcontext()
        return guessing(self.user.sessions.guards.codes.attempt(claims.email or claims.sub))


def _send_nothing() -> None:
    """Take the place of a call, where the mail budget is used up."""


def _detached(context: RequestContext) -> RequestContext:
    """Return a context for a call that may go on behind its answer: what it adds must not reach the access log."""
    return dataclasses.replace(context, log_fields={})
