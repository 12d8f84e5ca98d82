"""Sessions that ended before their access tokens do.

An access token stays valid by its signature until it expires, up to an hour after the logout. ASVS 7.4.1 wants the
session to end at the logout, so it is remembered here until no token of it can be good any more.

``scope=global`` and ``others`` end sessions whose ids nobody here knows. They are denied by their user: every
token issued before the logout, except those of the session that is spared.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from velro_auth.auth.tokens import Claims

#: A token issued this many seconds before a logout, or later, may belong to a login that followed it: ``iat`` is
#: cut to seconds, and Supabase's clock is not ours. Such a token is believed.
CLOCK_MARGIN_S: Final = 5

#: How often ended denials are dropped, in seconds.
SWEEP_S: Final = 60

#: ``issued_before_s`` of a denial that holds whenever the token was issued.
WHENEVER: Final = 2**53

Scope = Literal["global", "local", "others"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Tokens that are refused from now on.

    Attributes:
        subject: ``session:<id>`` or ``user:<id>``.
        until_s: When the last such token has expired; wall clock.
        issued_before_s: Tokens issued later are not meant; wall clock.
        spared_session: A session of that user that goes on.
    """

    subject: str
    until_s: float
    issued_before_s: int = WHENEVER
    spared_session: str = ""

    def covers(self, claims: Claims) -> bool:
        """Say whether these claims are meant. A token that does not tell its age counts as old."""
        return (claims.issued_at or 0) < self.issued_before_s and claims.session_id != self.spared_session

    def merged(self, other: Denial) -> Denial:
        """Return one denial for two of a subject: the later logout counts, and the stricter of two at once."""
        later = max(self, other, key=lambda denial: (denial.issued_before_s, not denial.spared_session))
        return replace(later, until_s=max(self.until_s, other.until_s))


def denials_of_logout(claims: Claims, scope: Scope, *, now_s: float, leeway_s: float = 30.0) -> list[Denial]:
    """Return what a logout with these claims ends.

    Args:
        claims: Those of the token that logs out.
        scope: As in Supabase: this session, all of the user's, or all but this one.
        now_s: The wall clock.
        leeway_s: How long after its ``exp`` a token is still accepted.
    """
    # No token of this user that exists now outlives one that would be issued now.
    lifetime_s = claims.exp - (claims.issued_at or now_s)
    until_s = max(claims.exp, now_s + lifetime_s) + leeway_s
    this = Denial(subject=f"session:{claims.session_id}", until_s=until_s)
    if scope == "local":
        return [this]
    all_others = Denial(
        subject=f"user:{claims.sub}",
        until_s=until_s,
        issued_before_s=int(now_s) - CLOCK_MARGIN_S,
        spared_session=claims.session_id if scope == "others" else "",
    )
    return [all_others] if scope == "others" else [this, all_others]


class DenyList(Protocol):
    """Where logouts are remembered."""

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended."""


class MemoryDenyList:
    """The deny-list of one process.

    Bounded: when it is full, the denial that would end first goes. Other processes know nothing of it.

    Args:
        size: How many denials are kept.
        now: The wall clock, because tokens end by it.
    """

    def __init__(self, *, size: int = 50_000, now: Callable[[], float] = time.time) -> None:
        self._size = size
        self._now = now
        self._lock = threading.Lock()
        self._denials: dict[str, Denial] = {}
        self._swept_s = now()

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""
        with self._lock:
            for denial in denials:
                known = self._denials.get(denial.subject)
                self._denials[denial.subject] = denial if known is None else known.merged(denial)
            if len(self._denials) > self._size or abs(self._now() - self._swept_s) > SWEEP_S:
                self._sweep()

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended."""
        # Two reads of a dict, each atomic: no lock, this runs with every request.
        session = self._denials.get(f"session:{claims.session_id}")
        user = self._denials.get(f"user:{claims.sub}")
        return (session is not None and session.covers(claims)) or (user is not None and user.covers(claims))

    def current(self) -> list[Denial]:
        """Return the denials that still matter."""
        with self._lock:
            self._sweep()
            return list(self._denials.values())

    def _sweep(self) -> None:
        """Drop what has ended and, where that is not enough, the tenth that would end first."""
        self._swept_s = now_s = self._now()
        for denial in [denial for denial in self._denials.values() if denial.until_s <= now_s]:
            del self._denials[denial.subject]
        if len(self._denials) > self._size:
            surplus = len(self._denials) - self._size + self._size // 10
            for denial in heapq.nsmallest(surplus, self._denials.values(), key=lambda it: it.until_s):
                del self._denials[denial.subject]
