"""Whose answer is this? An answer must be about the user who was asked about.

An HTTP/1.1 answer carries nothing of its request. A server, a proxy or a network that repeats or delays an answer
makes it look like the answer to the next request on the connection, and the session in it like that user's.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Final

from velro_auth.errors import WrongAnswer

#: Sessions whose user is remembered: about 2 MB.
MOST_SESSIONS: Final = 10_000

#: Go's ``ToLower``, by which Supabase stores addresses, maps this letter to one, Python's ``casefold`` to two.
_AS_GO_DOES: Final = str.maketrans({"İ": "i"})


def same_address(one: str, other: str) -> bool:
    """Return whether two mail addresses differ in case at most."""
    return _folded(one) == _folded(other)


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
