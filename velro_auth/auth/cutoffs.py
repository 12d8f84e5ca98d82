"""Which sessions of a user a logout ended, where it ended more than its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from velro_auth.auth.tokens import Claims

#: How many cuts of one user are kept. A user rarely has more than two; beyond that the oldest are joined.
MOST_CUTS: Final = 8

#: How many names of cuts that it replaces one cut keeps.
MOST_REPLACED: Final = 32

#: How many sessions are exempt from one cut: those of the logins that followed in the second of the logout.
MOST_EXEMPT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoff:
    """Ends the sessions that a user had at one moment.

    ``iat`` has whole seconds, so a token of the logout's second may be older or younger than the logout. It counts
    as older, except for sessions that are known to have begun later.

    Attributes:
        name: A random text. The same cut arrives more than once, by different ways.
        at_s: The last second in which a token of these sessions was issued; Supabase's clock.
        exempt: Ids of the sessions that go on: the one that was spared, and those that began after the logout.
        replaces: Names of cuts that this one included, so that copies of them that arrive later are left out: they do
            not know the sessions that began after this one, and so after them.
    """

    name: str
    at_s: int
    exempt: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    def covers(self, claims: Claims) -> bool:
        """Say whether this ended the session of a token. A token that does not tell its age counts as old."""
        return (claims.issued_at or 0) <= self.at_s and claims.session_id not in self.exempt

    def exempting(self, sessions: Iterable[str]) -> Cutoff:
        """Return the same cut with more sessions exempt."""
        return replace(self, exempt=_latest({*self.exempt, *sessions}, MOST_EXEMPT))

    def includes(self, other: Cutoff) -> bool:
        """Say whether this refuses every token that *other* refuses."""
        return self.at_s >= other.at_s and set(self.exempt) <= set(other.exempt)

    def united(self, copy: Cutoff) -> Cutoff:
        """Return this cut with what a copy of it knows."""
        replaces = _latest({*self.replaces, *copy.replaces}, MOST_REPLACED)
        return replace(self.exempting(copy.exempt), replaces=replaces)

    def replacing(self, other: Cutoff) -> Cutoff:
        """Return the same cut, which *other* is left out for from now on."""
        return replace(self, replaces=_latest({*self.replaces, other.name, *other.replaces}, MOST_REPLACED))

    def joined(self, other: Cutoff) -> Cutoff:
        """Return one cut that refuses what either refuses, and perhaps more; with a name of its own."""
        name = hashlib.sha256(f"{self.name} {other.name}".encode()).hexdigest()[:16]
        both = tuple(sorted(set(self.exempt) & set(other.exempt)))
        cut = Cutoff(name=name, at_s=max(self.at_s, other.at_s), exempt=both)
        return cut.replacing(self).replacing(other)


def merged_cuts(some: Sequence[Cutoff], others: Sequence[Cutoff]) -> tuple[Cutoff, ...]:
    """Return cuts that together refuse every token that one of these refuses.

    The sessions exempt from a cut of one name are those that any copy of it exempts: a copy that does not know of a
    later login is only older. Of different cuts none exempts a session from another.
    """
    by_name: dict[str, Cutoff] = {}
    for cut in (*some, *others):
        by_name[cut.name] = by_name[cut.name].united(cut) if cut.name in by_name else cut
    replaced = {name for cut in by_name.values() for name in cut.replaces}
    left = [cut for cut in by_name.values() if cut.name not in replaced]
    # In one order, so that processes that know the same hold the same; a cut comes after those that include it.
    kept: list[Cutoff] = []
    for cut in sorted(left, key=lambda cut: (-cut.at_s, len(cut.exempt), cut.name)):
        wider = next((index for index, one in enumerate(kept) if one.includes(cut)), None)
        if wider is None:
            kept.append(cut)
        else:
            kept[wider] = kept[wider].replacing(cut)
    while len(kept) > MOST_CUTS:
        kept[-2:] = [kept[-2].joined(kept[-1])]
    return tuple(kept)


def _latest(names: Iterable[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(names))[-most:]
