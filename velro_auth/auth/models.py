"""The data types of the core, and the interfaces through which it asks Supabase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from velro_auth.auth.denylist import Scope
from velro_auth.context import RequestContext

#: Limits of the migrations: they cut longer names, and leave out longer addresses of pictures.
MAX_NAME_LENGTH: Final = 100
MAX_PICTURE_LENGTH: Final = 2000

#: Levels of a session that a second factor has proven.
STEPPED_UP: Final = frozenset({"aal2", "aal3"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """Validated credentials of a login; their ``repr`` shows none of them.

    The password is passed on exactly as given: no trimming, no change of case, no truncation (ASVS 6.2.8).
    """

    #: A mail address; in ``/auth/v1`` also a phone number.
    email: str = field(repr=False)
    password: str = field(repr=False)
    captcha_token: str | None = field(default=None, repr=False)
    #: The solution of a challenge of ours; not sent to Supabase.
    challenge: str | None = field(default=None, repr=False)
    #: Whether ``email`` holds a phone number.
    is_phone: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The user's row of ``public.users``, as far as this service answers with it."""

    display_name: str | None = None
    avatar_url: str | None = None
    credits_balance: int | None = None
    created_at: str | None = None
    updated_at: str | None = None


def profile_of(claims: Mapping[str, Any]) -> Profile:
    """Return what the claims of a token say about the profile, where the row is not read.

    Claims of a token hook come first, then what users write about themselves, by the rules by which the migrations
    copy it into the row: display names of at most 100 characters, pictures by https.
    """
    given = claims.get("user_metadata")
    metadata: Mapping[str, Any] = given if isinstance(given, dict) else {}
    names = (claims.get("display_name"), *(metadata.get(name) for name in ("display_name", "full_name", "name")))
    name = next((name for name in names if isinstance(name, str)), "").strip()
    pictures = (claims.get("avatar_url"), metadata.get("avatar_url"), metadata.get("picture"))
    picture = next((picture for picture in pictures if isinstance(picture, str)), "")
    is_shown = picture.startswith("https://") and len(picture) <= MAX_PICTURE_LENGTH
    balance = claims.get("credits_balance")
    return Profile(
        display_name=name[:MAX_NAME_LENGTH] or None,
        avatar_url=picture if is_shown else None,
        credits_balance=balance if isinstance(balance, int) else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user as Supabase describes them, reduced to what frontends need.

    Attributes:
        role: The application role: claim ``user_role`` of the token, else ``app_metadata.user_role``, else
            None. Never an invented default.
    """

    id: str
    email: str | None = field(repr=False)
    email_confirmed_at: str | None = None
    created_at: str | None = None
    role: str | None = None
    profile: Profile = Profile()
    is_anonymous: bool = False
    factors: Sequence[Mapping[str, Any]] = ()
    user_metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Supabase's answer to a login or a refresh. Both tokens are secrets."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    expires_at: int
    user: User
    weak_password: Mapping[str, Any] | None = None
    #: The level that the access token says; empty where it says none.
    aal: str = ""
    #: The session as Supabase sent it, for Supabase's own clients. Holds both tokens.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def mfa(self) -> Mapping[str, Any] | None:
        """What the client has to do next: prove one of these second factors. None where nothing is to be done."""
        verified = [factor for factor in self.user.factors if factor.get("status") == "verified"]
        if not verified or self.aal in STEPPED_UP:
            return None
        return {
            "required": True,
            "factors": [
                {"id": one.get("id"), "type": one.get("factor_type"), "friendly_name": one.get("friendly_name")}
                for one in verified
            ],
        }


def dump_session(session: Session) -> dict[str, Any]:
    """Return *session* as JSON values, to pass it to another process. They hold both tokens: encrypt them."""
    return asdict(session)


def load_session(values: Mapping[str, Any]) -> Session:
    """Return the session that :func:`dump_session` dumped.

    Raises:
        TypeError: Another release dumped the values.
        KeyError: The same.
    """
    user = dict(values["user"])
    user["profile"] = Profile(**user["profile"])
    return Session(**{**values, "user": User(**user)})


class Identity(Protocol):
    """Asks Supabase about users. While the settings are wrong, every call is refused.

    Beside the errors below, each method raises:

    * UpstreamThrottled: Supabase's rate limit is reached.
    * UpstreamError: Supabase could not be asked, or gave no usable answer.
    """

    def sign_in(self, credentials: Credentials, context: RequestContext, /) -> Session:
        """Return a new session for *credentials*.

        Raises:
            InvalidCredentials: Supabase refused the credentials.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: A captcha is required, or was refused.
            InvalidRequest: Supabase does not accept the address.
        """

    def refresh(self, refresh_token: str, context: RequestContext, /) -> Session:
        """Return the session that follows *refresh_token*. The token cannot be used again.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later attempt may succeed.
        """

    def check(self, access_token: str, context: RequestContext, /, *, deadline_s: float | None = None) -> None:
        """Return if the session and the user of *access_token* still exist.

        Args:
            access_token: The user's token.
            context: The request with the token.
            deadline_s: How long the call may take, if less than usual.

        Raises:
            TokenInvalid: Supabase refuses the token.
        """

    def sign_out(self, access_token: str, scope: Scope, context: RequestContext, /) -> float | None:
        """End sessions of the user of *access_token*; return when, by Supabase's clock, if Supabase says so.

        Raises:
            SessionGone: The session has ended already, or its user is gone or banned.
            TokenInvalid: Supabase refuses the token, so the session may still exist.
        """


class Profiles(Protocol):
    """Reads and writes the user's row of ``public.users``."""

    def load(self) -> None:
        """Import the required package. The first call may take a second, so do not hold a permit meanwhile."""

    def of(self, access_token: str, user_id: str) -> Profile | None:
        """Return the profile row of a user, None if it cannot be read. Never raises."""

    def change(self, access_token: str, user_id: str, values: Mapping[str, str | None]) -> Profile | None:
        """Write ``display_name`` or ``avatar_url``; return the row, None where there is none to write.

        Raises:
            TokenInvalid: The data API refuses the token.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
