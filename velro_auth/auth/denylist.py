"""Sessions that ended before their access tokens expire.

An access token stays valid by its signature until it expires. ASVS 7.4.1 requires that the session ends at the logout,
so the logout is kept here until all tokens of the session have expired.

A denial of a session (``session:<id>``) refuses every token of it. A denial of a user (``user:<id>``) ends sessions
whose ids are unknown here: it has one :class:`Cutoff` for each logout with ``scope=global`` or ``others``. A denial of
a user's lower sessions (``aal1:<id>``) does the same, but only to tokens that say ``aal1`` (see ``auth/factors.py``).

A merged denial refuses all tokens that either of the two refuses. So processes that receive them in any order agree.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from velro_auth.auth.tokens import Claims

#: How often expired denials are dropped, in seconds.
SWEEP_S: Final = 60
#: Lifetime of access tokens before a longer one was seen: Supabase's default, in seconds.
USUAL_LIFETIME_S: Final = 3600
#: The longest lifetime that Supabase lets a project choose, in seconds: a week.
LONGEST_LIFETIME_S: Final = 604_800
#: How long after its ``exp`` a token is still accepted, in seconds.
LEEWAY_S: Final = 30.0

#: A mark for :meth:`DenyList.admits` that is older than every denial.
BEFORE_ALL: Final = -1
#: Cutoffs of one user; beyond that the oldest are joined. Users rarely have more than two.
MAX_CUTOFFS: Final = 8
#: Names of replaced cutoffs in one cutoff.
MAX_REPLACED: Final = 32
#: Sessions that are exempt from one cutoff: those of logins within the second of the logout.
MAX_EXEMPT: Final = 64

Scope = Literal["global", "local", "others"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """Ends the sessions that a user had at one moment.

    ``iat`` has whole seconds. A token from the second of the logout counts as older, except for sessions that are
    known to have begun later.

    Attributes:
        name: A random text. The same cutoff may arrive several times.
        at_s: The last second in which a token of these sessions was issued; Supabase's clock.
        exempt: Ids of sessions that do not end: the spared session, and those that began after the logout.
        replaces: Names of cutoffs that this one included. Later copies of them are ignored.
    """

    name: str
    at_s: int
    exempt: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    def covers(self, claims: Claims) -> bool:
        """Return whether this ended the session of a token. A token without ``iat`` counts as old."""
        return (claims.issued_at or 0) <= self.at_s and claims.session_id not in self.exempt

    def exempting(self, sessions: Iterable[str]) -> Cutoff:
        """Return the same cutoff with more exempt sessions."""
        return replace(self, exempt=_bounded({*self.exempt, *sessions}, MAX_EXEMPT))

    def includes(self, other: Cutoff) -> bool:
        """Return whether this refuses every token that *other* refuses."""
        return self.at_s >= other.at_s and set(self.exempt) <= set(other.exempt)

    def united(self, copy: Cutoff) -> Cutoff:
        """Return this cutoff with the exempt sessions and replaced names of a copy."""
        replaces = _bounded({*self.replaces, *copy.replaces}, MAX_REPLACED)
        return replace(self.exempting(copy.exempt), replaces=replaces)

    def replacing(self, other: Cutoff) -> Cutoff:
        """Return the same cutoff, which replaces *other* from now on."""
        return replace(self, replaces=_bounded({*self.replaces, other.name, *other.replaces}, MAX_REPLACED))

    def joined(self, other: Cutoff) -> Cutoff:
        """Return a new cutoff that refuses what either refuses, and perhaps more."""
        name = hashlib.sha256(f"{self.name} {other.name}".encode()).hexdigest()[:16]
        both = tuple(sorted(set(self.exempt) & set(other.exempt)))
        return Cutoff(name=name, at_s=max(self.at_s, other.at_s), exempt=both).replacing(self).replacing(other)


def _bounded(names: Iterable[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(names))[-most:]


def merge_cutoffs(some: Sequence[Cutoff], others: Sequence[Cutoff]) -> tuple[Cutoff, ...]:
    """Return cutoffs that together refuse every token that one of these refuses.

    Copies of one cutoff (same name) are united: a copy that lacks an exempt session is only older.
    """
    by_name: dict[str, Cutoff] = {}
    for cutoff in (*some, *others):
        by_name[cutoff.name] = by_name[cutoff.name].united(cutoff) if cutoff.name in by_name else cutoff
    replaced = {name for cutoff in by_name.values() for name in cutoff.replaces}
    current = [cutoff for cutoff in by_name.values() if cutoff.name not in replaced]
    # A fixed order, so that all processes get the same result; a cutoff comes after those that include it.
    kept: list[Cutoff] = []
    for cutoff in sorted(current, key=lambda cutoff: (-cutoff.at_s, len(cutoff.exempt), cutoff.name)):
        wider = next((index for index, one in enumerate(kept) if one.includes(cutoff)), None)
        if wider is None:
            kept.append(cutoff)
        else:
            kept[wider] = kept[wider].replacing(cutoff)
    while len(kept) > MAX_CUTOFFS:
        kept[-2:] = [kept[-2].joined(kept[-1])]
    return tuple(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Refuses tokens of a session or of a user.

    Attributes:
        subject: ``session:<id>``, ``user:<id>`` or ``aal1:<id>``.
        until_s: When the last such token has expired; wall clock.
        cutoffs: For a user, which tokens are refused; empty for all.
    """

    subject: str
    until_s: float
    cutoffs: tuple[Cutoff, ...] = ()

    def covers(self, claims: Claims) -> bool:
        """Return whether a token of this subject with these claims is refused."""
        return not self.cutoffs or any(cutoff.covers(claims) for cutoff in self.cutoffs)

    def merged(self, other: Denial) -> Denial:
        """Return one denial for two of a subject: it refuses what either refuses, for as long as either does."""
        cutoffs = merge_cutoffs(self.cutoffs, other.cutoffs) if self.cutoffs and other.cutoffs else ()
        return replace(self, until_s=max(self.until_s, other.until_s), cutoffs=cutoffs)


def end_of_session(claims: Claims, *, until_s: float) -> Denial:
    """Return the denial of the session of these claims."""
    return Denial(subject=f"session:{claims.session_id}", until_s=until_s)


def end_of_user(claims: Claims, scope: Literal["global", "others"], *, at_s: float, until_s: float) -> Denial:
    """Return the denial of the sessions that a user had when Supabase ended them.

    Args:
        claims: The claims of the token that logged out.
        scope: ``others`` spares the session of that token.
        at_s: When Supabase ended them, by its clock: the ``Date`` of its answer.
        until_s: When all their tokens have expired.
    """
    # Supabase issued the token before it ended the sessions, even if the clock of the Date says otherwise.
    second = max(int(at_s), claims.issued_at or 0)
    cutoff = Cutoff(name=secrets.token_hex(8), at_s=second, exempt=(claims.session_id,) if scope == "others" else ())
    return Denial(subject=f"user:{claims.sub}", until_s=until_s, cutoffs=(cutoff,))


def end_of_lower_sessions(claims: Claims, *, at_s: float, until_s: float) -> Denial:
    """Return what :func:`end_of_user` returns for ``others``, but only for tokens that say ``aal1``."""
    return replace(end_of_user(claims, "others", at_s=at_s, until_s=until_s), subject=f"aal1:{claims.sub}")


def subjects_of(claims: Claims) -> tuple[str, ...]:
    """Return the subjects whose denials may refuse a token with these claims."""
    own = (f"session:{claims.session_id}", f"user:{claims.sub}")
    return (*own, f"aal1:{claims.sub}") if claims.aal == "aal1" else own


def last_end_s(claims: Claims, *, now_s: float, longest_s: float) -> float:
    """Return when all tokens that exist now have expired.

    Args:
        claims: The claims of the token that logs out.
        now_s: The wall clock.
        longest_s: The longest lifetime of a token that was seen.
    """
    lifetime_s = max(longest_s, claims.exp - (claims.issued_at or now_s))
    return max(claims.exp, now_s + lifetime_s) + LEEWAY_S


class DenyList(Protocol):
    """Stores logouts."""

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that was seen, in seconds."""

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""

    def denies(self, claims: Claims, *, waits: bool = True) -> bool:
        """Return whether the session was ended; without *waits*, also True if only another process can tell."""

    def mark(self) -> int:
        """Return a mark for :meth:`admits`; call this before Supabase is asked for a new session."""

    def admits(self, claims: Claims, mark: int) -> bool:
        """Record a session that began after *mark*; return whether the client may have it.

        Denials of the user known here at *mark* do not apply: it began later, perhaps in the second of the logout.
        """


@dataclass(slots=True)
class _Entry:
    """A denial, and for each of its cutoffs the number of the :meth:`MemoryDenyList.deny` call that added it."""

    denial: Denial
    added_by: dict[str, int]

    def merge(self, denial: Denial, call: int) -> None:
        self.denial = self.denial.merged(denial)
        self.added_by = {cutoff.name: self.added_by.get(cutoff.name, call) for cutoff in self.denial.cutoffs}

    def exempt(self, claims: Claims, mark: int) -> Denial | None:
        cutoffs = self.denial.cutoffs
        earlier = {cutoff.name for cutoff in cutoffs if cutoff.covers(claims) and self.added_by[cutoff.name] <= mark}
        if not earlier:
            return None
        own = [claims.session_id]
        cutoffs = tuple(cutoff.exempting(own) if cutoff.name in earlier else cutoff for cutoff in cutoffs)
        self.denial = replace(self.denial, cutoffs=cutoffs)
        return self.denial


class MemoryDenyList:
    """The deny-list of one process. When it is full, the denials that would end first are dropped.

    Args:
        size: How many denials are kept.
        now: The wall clock, because tokens expire by it.
    """

    def __init__(self, *, size: int = 50_000, now: Callable[[], float] = time.time) -> None:
        self._size, self._now = size, now
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._calls = 0
        self._longest_s = float(USUAL_LIFETIME_S)
        self._swept_s = now()

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that was seen, in seconds."""
        return self._longest_s

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on."""
        with self._lock:
            self._calls += 1
            for denial in denials:
                self._entries.setdefault(denial.subject, _Entry(denial, {})).merge(denial, self._calls)
            if len(self._entries) > self._size or abs(self._now() - self._swept_s) > SWEEP_S:
                self._sweep()

    def denies(self, claims: Claims, *, waits: bool = True) -> bool:  # noqa: ARG002 - memory never waits
        """Return whether the session of these claims was ended."""
        with self._lock:
            entries = map(self._entries.get, subjects_of(claims)) if self._entries else ()
            return any(entry is not None and entry.denial.covers(claims) for entry in entries)

    def mark(self) -> int:
        """Return a mark for :meth:`admits`."""
        with self._lock:
            return self._calls

    def admits(self, claims: Claims, mark: int) -> bool:
        """Record a session that began after *mark*; return whether the client may have it."""
        self.exempt(claims, mark)
        return not self.denies(claims)

    def exempt(self, claims: Claims, mark: int) -> list[Denial]:
        """Exempt a session from the cutoffs that were known at *mark*; return the denials that this changed."""
        with self._lock:
            lifetime_s = claims.exp - (claims.issued_at or claims.exp)
            self._longest_s = max(self._longest_s, min(lifetime_s, LONGEST_LIFETIME_S))
            entries = map(self._entries.get, subjects_of(claims))
            return [changed for entry in entries if entry and (changed := entry.exempt(claims, mark))]

    def current(self) -> list[Denial]:
        """Return the denials that have not expired."""
        with self._lock:
            self._sweep()
            return [entry.denial for entry in self._entries.values()]

    def _sweep(self) -> None:
        """Drop expired denials and, if there are still too many, the tenth that would end first."""
        self._swept_s = now_s = self._now()
        self._entries = {name: entry for name, entry in self._entries.items() if entry.denial.until_s > now_s}
        if (surplus := len(self._entries) - self._size) > 0:
            surplus += self._size // 10
            for entry in heapq.nsmallest(surplus, self._entries.values(), key=lambda it: it.denial.until_s):
                del self._entries[entry.denial.subject]
