"""Reads successful answers of Supabase Auth: the JSON in them, whose they are, and sessions.

An answer must be about the user who was asked about. An HTTP/1.1 answer carries nothing of its request. If a server, a
proxy or a network repeats or delays an answer, it looks like the answer to the next request on the connection, and its
session looks like that of the next user.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeGuard

from velro_auth.auth.models import Session, User, profile_of
from velro_auth.auth.tokens import MAX_DATE_S
from velro_auth.errors import UpstreamFailed, UpstreamUnavailable, WrongAnswer
from velro_auth.upstream.transport.transport import Reply

#: What ``content`` returns for a body without JSON; ``null`` is JSON.
NO_JSON: Final = object()

#: Sessions whose user is remembered: about 2 MB.
MOST_SESSIONS: Final = 10_000

#: Go's ``ToLower``, by which Supabase stores addresses, maps this letter to one, Python's ``casefold`` to two.
_AS_GO_DOES: Final = str.maketrans({"İ": "i"})


def is_json(reply: Reply) -> bool:
    """Tell whether the answer says that it is JSON; an edge's page of HTML does not."""
    media_type = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def content(reply: Reply) -> Any:
    """Return the parsed body, ``NO_JSON`` when there is no JSON in it."""
    if not is_json(reply):
        return NO_JSON
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return NO_JSON


def json_object(reply: Reply) -> dict[str, Any]:
    """Return the JSON object of a successful answer.

    Raises:
        UpstreamUnavailable: There is none: another server answered.
    """
    body = content(reply)
    if not isinstance(body, dict):
        raise UpstreamUnavailable("200 without a JSON object")
    return body


def object_in(data: bytes) -> dict[str, Any]:
    """Return the JSON object in *data*; empty where there is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def same_address(one: str, other: str) -> bool:
    """Return whether two mail addresses differ in case at most."""
    return _folded(one) == _folded(other)


def same_phone(told: Any, asked: str) -> bool:
    """Return whether two phone numbers have the same digits."""
    digits = re.sub(r"[^0-9]", "", asked)
    return isinstance(told, str) and bool(digits) and re.sub(r"[^0-9]", "", told) == digits


def _folded(address: str) -> str:
    return address.translate(_AS_GO_DOES).casefold()


def demand(*, is_right: bool, what: str) -> None:
    """Take an answer only if it is about the user who was asked about.

    Args:
        is_right: Whether it is.
        what: What differs, for the log; never a value.

    Raises:
        WrongAnswer: It is about another user.
    """
    if not is_right:
        raise WrongAnswer(f"the answer is about another user: {what} differs")


class Owners:
    """Remembers which user a refresh token was given to, in this process.

    Args:
        most: How many tokens are remembered; the one not used for longest is forgotten first.
    """

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._users: OrderedDict[bytes, str] = OrderedDict()

    def note(self, refresh_token: str, user_id: str) -> None:
        """Remember that *refresh_token* was given to this user."""
        with self._lock:
            self._users[_name(refresh_token)] = user_id
            if len(self._users) > self._most:
                self._users.popitem(last=False)

    def of(self, refresh_token: str) -> str | None:
        """Return the user of *refresh_token*; None where that is not known."""
        with self._lock:
            return self._users.get(_name(refresh_token))


def _name(refresh_token: str) -> bytes:
    """Return what a token is remembered by; the token itself is a secret."""
    return hashlib.sha256(refresh_token.encode("utf-8", "surrogatepass")).digest()[:16]


def session_from(reply: Reply) -> Session:
    """Read a session from a successful answer of the token endpoint.

    Lenient about what is beside the point, strict about both tokens and the user's id. Where a hook changed the
    token's lifetime, the token is right and the body is not (contract of Supabase Auth, 1).

    Raises:
        UpstreamUnavailable: Not JSON: another server answered.
        UpstreamFailed: JSON, but no session.
        WrongAnswer: The token belongs to another user than the one beside it.
    """
    body = content(reply)
    if body is NO_JSON:
        raise UpstreamUnavailable("200 without JSON")
    if not isinstance(body, dict) or not isinstance(user := body.get("user"), dict):
        raise UpstreamFailed("200 without a session")
    access_token, refresh_token = body.get("access_token"), body.get("refresh_token")
    if not is_text(access_token) or not is_text(refresh_token) or not is_text(user.get("id")):
        raise UpstreamFailed("200 without both tokens and a user")
    if not all(token.isascii() and token.isprintable() for token in (access_token, refresh_token)):
        # Neither a header field nor a client could carry it.
        raise UpstreamFailed("200 with a token that is none")
    claims = claims_of(access_token)
    demand(is_right=claims.get("sub", user["id"]) == user["id"], what="the subject of the access token")
    expires_in, expires_at = _lifetime(body, claims, time.time())
    return Session(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in=expires_in,
        expires_at=expires_at,
        user=_user(user, claims),
        weak_password=_mapping(body.get("weak_password")),
        aal=_text(claims.get("aal")) or "",
        raw=body,
    )


def date_s(reply: Reply) -> float | None:
    """Return the ``Date`` of an answer in seconds since the epoch; None without a usable one."""
    try:
        return parsedate_to_datetime(reply.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return None


def _lifetime(body: Mapping[str, Any], claims: Mapping[str, Any], now_s: float) -> tuple[int, int]:
    expires_in, expires_at, exp = _seconds(body.get("expires_in")), _seconds(body.get("expires_at")), claims.get("exp")
    exp = _seconds(int(exp) if isinstance(exp, float) and math.isfinite(exp) else exp)
    if exp is not None and exp != expires_at:
        return max(0, exp - int(now_s)), exp
    if expires_in is not None:
        return expires_in, int(now_s) + expires_in if expires_at is None else expires_at
    if expires_at is not None:
        return max(0, expires_at - int(now_s)), expires_at
    raise UpstreamFailed("200 without a lifetime")


def _seconds(value: Any) -> int | None:
    """Return a time in whole seconds; None for what is none, or lies beyond the year 9999."""
    return value if type(value) is int and 0 <= value < MAX_DATE_S else None


def _user(user: Mapping[str, Any], claims: Mapping[str, Any]) -> User:
    factors = user.get("factors")
    return User(
        id=user["id"],
        email=_text(user.get("email")),
        email_confirmed_at=_text(user.get("email_confirmed_at")),
        created_at=_text(user.get("created_at")),
        role=_text(claims.get("user_role")) or _text((_mapping(user.get("app_metadata")) or {}).get("user_role")),
        profile=profile_of(claims),
        is_anonymous=user.get("is_anonymous") is True,
        factors=[factor for factor in factors if isinstance(factor, dict)] if isinstance(factors, list) else [],
        user_metadata=_mapping(user.get("user_metadata")) or {},
    )


def user_from(reply: Reply, access_token: str) -> User:
    """Read the user from a successful answer about the owner of *access_token*.

    Raises:
        UpstreamUnavailable: Not JSON: another server answered.
        UpstreamFailed: JSON, but no user.
        WrongAnswer: It is another user.
    """
    user, claims = content(reply), claims_of(access_token)
    if user is NO_JSON:
        raise UpstreamUnavailable("200 without JSON")
    if not isinstance(user, dict) or not is_text(user.get("id")):
        raise UpstreamFailed("200 without a user")
    demand(is_right=claims.get("sub", user["id"]) == user["id"], what="the subject of the token")
    return _user(user, claims)


def user_of(access_token: str, reply: Reply) -> Mapping[str, Any]:
    """Return the user object of a successful answer.

    Raises:
        UpstreamUnavailable: Not JSON, or no user: another server answered.
        WrongAnswer: It is another user than that of *access_token*.
    """
    user = content(reply)
    if not isinstance(user, dict) or not is_text(user.get("id")):
        raise UpstreamUnavailable("200 without a user")
    demand(is_right=user["id"] == claims_of(access_token).get("sub"), what="the subject of the token")
    return user


def claims_of(token: str) -> Mapping[str, Any]:
    """Return a token's claims without judging it: it came from Supabase this moment. Empty when unreadable."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def is_text(value: Any) -> TypeGuard[str]:
    """Return whether *value* is a text with something in it."""
    return isinstance(value, str) and bool(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None
