"""What the core talks about: credentials, sessions, users, profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody logs in with, already validated; its ``repr`` says nothing of it.

    The password is passed on exactly as given: no trimming, no change of case, no truncation (ASVS 6.2.8).
    """

    email: str = field(repr=False)
    password: str = field(repr=False)
    captcha_token: str | None = field(default=None, repr=False)
    #: The solution of a challenge of ours; never passed on.
    challenge: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Profile:
    """The caller's row of ``public.users``, as far as a login answers with it."""

    display_name: str | None = None
    avatar_url: str | None = None
    credits_balance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user as Supabase knows them, less what frontends have no use for.

    Attributes:
        role: The application role: claim ``user_role`` of the token, else ``app_metadata.user_role``, else
            None. Never a made-up default.
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
    """What Supabase gave for a login or a refresh. Both tokens are secrets."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    expires_at: int
    user: User
    weak_password: Mapping[str, Any] | None = None
