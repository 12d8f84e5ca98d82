"""The data types of sign-up, confirmation and recovery, and the interface through which they ask Supabase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from velro_auth.auth.models import Session
from velro_auth.context import RequestContext

#: What a mailed link or code is for; the words of Supabase.
ProofType: TypeAlias = Literal["signup", "invite", "magiclink", "email", "recovery", "email_change"]

#: What a mail is asked for: a confirmation again, a link and a code to sign in with, a forgotten password.
MailKind: TypeAlias = Literal["confirmation", "code", "recovery"]

#: Types whose links and codes open an account. Only with these may a password be set by ``confirm``.
OPENING: Final[frozenset[ProofType]] = frozenset({"signup", "invite", "magiclink", "email"})

#: How long Supabase may take between confirming an address and signing in, in seconds.
ONE_CALL_S: Final = 5.0

#: The same where an authorization code comes between, which is good for five minutes.
ONE_CODE_S: Final = 300.0 + ONE_CALL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRequest:
    """A request that may send a mail.

    Attributes:
        email: The mail address.
        challenge: Our PKCE challenge (S256), so that a link of Supabase's default template ends in a code, not in
            tokens. Empty for none: Supabase's own clients choose it themselves.
        redirect_to: Where the link leads to; None for the project's site URL. One of the addresses of the list.
        captcha_token: A solved captcha.
        challenge_method: The method of the challenge.
        creates_user: Whether an address without an account gets one; only for a code.
    """

    email: str = field(repr=False)
    challenge: str = field(repr=False)
    redirect_to: str | None = None
    captcha_token: str | None = field(default=None, repr=False)
    challenge_method: str = "s256"
    creates_user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp(MailRequest):
    """A sign-up.

    Attributes:
        password: Passed on exactly as given.
        data: The user's own metadata, as JSON values.
        is_phone: Whether ``email`` holds a phone number.
    """

    password: str = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_phone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A mailed link.

    Attributes:
        type: What it is for.
        token_hash: The hash in it.
        solution: The solution of a challenge of ours; not sent to Supabase.
    """

    type: ProofType
    token_hash: str = field(repr=False)
    solution: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A mailed code of six digits, and the address that it was sent to."""

    type: ProofType
    email: str = field(repr=False)
    token: str = field(repr=False)


Proof: TypeAlias = Link | Code


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good link or code led to.

    Attributes:
        session: The new session; None for the first one of the two confirmations of a new address.
        has_confirmed: Whether this link or code confirmed the address of the account. Before that, another person may
            have signed the address up, so the password may be that person's.
    """

    session: Session | None
    has_confirmed: bool = False


def has_confirmed(user: Mapping[str, Any], *, within_s: float = ONE_CALL_S) -> bool:
    """Return whether the address was confirmed by this sign-in: shortly before, and by a mail sent before that.

    Args:
        user: The user as Supabase describes them.
        within_s: What "shortly" is, in seconds.
    """
    confirmed, signed_in, sent = (
        _moment(user.get(name)) for name in ("email_confirmed_at", "last_sign_in_at", "recovery_sent_at")
    )
    if confirmed is None or signed_in is None or abs(signed_in - confirmed) >= within_s:
        return False
    return sent is None or sent <= confirmed


def _moment(text: Any) -> float | None:
    """Return a time of Supabase's in seconds since the epoch; None for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


class Accounts(Protocol):
    """Asks Supabase about accounts.

    Beside the errors below, each method raises:

    * MailRefused: No mail was sent, for a reason that depends on the account (only the methods that send one).
    * CaptchaRequired: A captcha is required, or was refused.
    * InvalidRequest: Supabase does not accept the mail address (only the methods that take one).
    * UpstreamThrottled: Supabase's rate limit is reached.
    * UpstreamError: Supabase could not be asked, or gave no usable answer.
    """

    def sign_up(self, sign_up: SignUp, context: RequestContext, /) -> Session | None:
        """Return the session of the new account; None if the project has the address confirmed by mail.

        Raises:
            AlreadyRegistered: The address has an account, in a project that confirms by itself.
            WeakPassword: Supabase does not accept the password.
            NotEnabled: The project takes no sign-ups.
            Forbidden: A hook of the project refused this one.
        """

    def send_mail(self, kind: MailKind, request: MailRequest, context: RequestContext, /) -> None:
        """Have a mail sent."""

    def verify(self, proof: Proof, context: RequestContext, /) -> Verified:
        """Return what a link or code leads to. It cannot be used again.

        Raises:
            LinkInvalid: It is wrong, was used before, or has expired; or the user is banned.
        """

    def set_password(self, session: Session, password: str, context: RequestContext, /) -> tuple[Session, float | None]:
        """Replace the user's password, which ends the user's other sessions.

        Returns:
            The session with the user as they are now, and when the others ended, by Supabase's clock, if it says so.

        Raises:
            WeakPassword: Supabase does not accept the password.
            SamePassword: It is the old one.
            InsufficientAal: The user has a second factor, which has to be passed first.
            ReauthenticationNeeded: The project wants another proof.
            TokenInvalid: The session is over.
        """


class SignUpMode(Protocol):
    """Whether the project has the addresses of new accounts confirmed by mail, or confirms them by itself."""

    @property
    def needs_mail(self) -> Callable[[], bool]:
        """Returns whether a mail is needed, as far as that is known."""

    def learn(self, *, needs_mail: bool) -> None:
        """Note what an answer to a sign-up showed."""
