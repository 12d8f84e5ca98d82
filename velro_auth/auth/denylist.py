"""Sessions that ended before their access tokens do.

An access token stays valid by its signature until it expires, up to an hour after the logout. ASVS 7.4.1 wants the
session to end at the logout, so the logout is remembered here until no token of the session can be good any more.

Two kinds of denials are kept. A denial of a session (``session:<id>``) refuses every token of it. A denial of a user
(``user:<id>``) ends sessions whose ids are not known here: it has one :class:`~velro_auth.auth.cuts.Cutoff` for each
logout with ``scope=global`` or ``others``.

Merging two denials refuses all that either of them refuses, in any order and any number of times. So processes may
learn of denials in different orders and still agree.
"""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from velro_auth.auth.cutoffs import Cutoff, merged_cuts
from velro_auth.auth.tokens import Claims

#: How often ended denials are dropped, in seconds.
SWEEP_S: Final = 60

#: Lifetime of access tokens until a longer one was seen: Supabase's default, in seconds.
USUAL_LIFETIME_S: Final = 3600

#: The longest lifetime that Supabase lets a project choose, in seconds: a week.
LONGEST_LIFETIME_S: Final = 604_800

#: How long after its ``exp`` a token is still accepted, in seconds.
LEEWAY_S: Final = 30.0

#: The mark of a session that began before every denial.
BEFORE_ALL: Final = -1

Scope = Literal["global", "local", "others"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Tokens that are refused from now on.

    Attributes:
        subject: ``session:<id>`` or ``user:<id>``.
        until_s: When the last such token has expired; wall clock.
        cuts: Which tokens are meant, for a user; without any all of them are.
    """

    subject: str
    until_s: float
    cutoffs: tuple[Cutoff, ...] = ()

    def covers(self, claims: Claims) -> bool:
        """Say whether a token of this subject with these claims is refused."""
        return not self.cutoffs or any(cut.covers(claims) for cut in self.cutoffs)

    def merged(self, other: Denial) -> Denial:
        """Return one denial for two of a subject: it refuses what either refuses, for as long as either does."""
        cutoffs = merged_cuts(self.cutoffs, other.cutoffs) if self.cutoffs and other.cutoffs else ()
        return replace(self, until_s=max(self.until_s, other.until_s), cutoffs=cutoffs)


def end_of_session(claims: Claims, *, until_s: float) -> Denial:
    """Return the denial of the session that these claims belong to."""
    return Denial(subject=f"session:{claims.session_id}", until_s=until_s)


def end_of_user(claims: Claims, scope: Literal["global", "others"], *, at_s: float, until_s: float) -> Denial:
    """Return the denial of the sessions that a user had when Supabase ended them.

    Args:
        claims: Those of the token that logged out.
        scope: ``others`` spares the session of that token.
        at_s: When Supabase ended them, by its clock: the ``Date`` of its answer.
        until_s: When no token of theirs can be good any more.
    """
    # Supabase issued the token itself before that, whatever clock wrote the Date.
    second = max(int(at_s), claims.issued_at or 0)
    spared = (claims.session_id,) if scope == "others" else ()
    cut = Cutoff(name=secrets.token_hex(8), at_s=second, exempt=spared)
    return Denial(subject=f"user:{claims.sub}", until_s=until_s, cutoffs=(cut,))


def last_end_s(claims: Claims, *, now_s: float, longest_s: float) -> float:
    """Return when no token can be good any more that exists now.

    Args:
        claims: Those of the token that logs out.
        now_s: The wall clock.
        longest_s: The longest lifetime of a token that was seen; a user's other sessions may have longer ones.
    """
    lifetime_s = max(longest_s, claims.exp - (claims.issued_at or now_s))
    return max(claims.exp, now_s + lifetime_s) + LEEWAY_S


class DenyList(Protocol):
    """Where logouts are remembered."""

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that was seen, in seconds."""

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended."""

    def mark(self) -> int:
        """Return a mark for :meth:`admits`: take it before Supabase is asked for a new session."""

    def admits(self, claims: Claims, mark: int) -> bool:
        """Take a session that Supabase began after *mark*; say whether it may be handed out.

        Denials of the user that were known here at *mark* do not concern the session: it began later, also where
        its token was issued in the second of the logout.
        """


@dataclass(slots=True)
class _Known:
    """A denial, and for each of its cuts the number of the news that brought it."""

    denial: Denial
    learnt: dict[str, int]

    def learn(self, denial: Denial, news: int) -> None:
        self.denial = self.denial.merged(denial)
        self.learnt = {cut.name: self.learnt.get(cut.name, news) for cut in self.denial.cutoffs}

    def exempt(self, claims: Claims, mark: int) -> Denial | None:
        cutoffs = self.denial.cutoffs
        earlier = {cut.name for cut in cutoffs if cut.covers(claims) and self.learnt[cut.name] <= mark}
        if not earlier:
            return None
        session = [claims.session_id]
        cutoffs = tuple(cut.exempting(session) if cut.name in earlier else cut for cut in cutoffs)
        self.denial = replace(self.denial, cutoffs=cutoffs)
        return self.denial


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
        self._known: dict[str, _Known] = {}
        self._news = 0
        self._longest_s = float(USUAL_LIFETIME_S)
        self._swept_s = now()

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that was seen, in seconds."""
        with self._lock:
            return self._longest_s

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""
        with self._lock:
            self._news += 1
            for denial in denials:
                self._learn(denial)
            if len(self._known) > self._size or abs(self._now() - self._swept_s) > SWEEP_S:
                self._sweep()

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended."""
        with self._lock:
            session = self._known.get(f"session:{claims.session_id}")
            user = self._known.get(f"user:{claims.sub}")
            return any(known is not None and known.denial.covers(claims) for known in (session, user))

    def mark(self) -> int:
        """Return a mark for :meth:`admits`."""
        with self._lock:
            return self._news

    def admits(self, claims: Claims, mark: int) -> bool:
        """Take a session that Supabase began after *mark*; say whether it may be handed out."""
        self.exempt(claims, mark)
        return not self.denies(claims)

    def exempt(self, claims: Claims, mark: int) -> Denial | None:
        """Exempt a session from the cuts that were known at *mark*; return the denial if that changed it."""
        with self._lock:
            lifetime_s = claims.exp - (claims.issued_at or claims.exp)
            self._longest_s = max(self._longest_s, min(lifetime_s, LONGEST_LIFETIME_S))
            known = self._known.get(f"user:{claims.sub}")
            return None if known is None else known.exempt(claims, mark)

    def current(self) -> list[Denial]:
        """Return the denials that still matter."""
        with self._lock:
            self._sweep()
            return [known.denial for known in self._known.values()]

    def _learn(self, denial: Denial) -> None:
        known = self._known.setdefault(denial.subject, _Known(denial, {}))
        known.learn(denial, self._news)

    def _sweep(self) -> None:
        """Drop what has ended and, where that is not enough, the tenth that would end first."""
        self._swept_s = now_s = self._now()
        for known in [known for known in self._known.values() if known.denial.until_s <= now_s]:
            del self._known[known.denial.subject]
        if len(self._known) > self._size:
            surplus = len(self._known) - self._size + self._size // 10
            for known in heapq.nsmallest(surplus, self._known.values(), key=lambda it: it.denial.until_s):
                del self._known[known.denial.subject]
