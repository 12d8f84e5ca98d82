"""Tickets: the session of a link that was used already, sealed for another attempt at setting a password.

A ticket is good for ten minutes after the link was used, however many attempts follow: each failure gives a new one,
with the end of the first. One of them sets one password; then all of them are used up.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from velro_auth.auth.models import Session, User
from velro_auth.auth.sealing import Sealed, Sealer
from velro_auth.auth.tokens import Claims, claims_of_issued
from velro_auth.errors import LinkInvalid
from velro_auth.guards.challenges import Spent

#: How long tickets are good for after the link was used, in seconds; shorter than the session in them.
TICKET_S: Final = 600.0

#: Factors that a ticket and an answer name; Supabase allows ten.
MAX_FACTORS: Final = 10


@dataclass(frozen=True, slots=True)
class Ticket:
    """The sealed session of a link that was used already."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Series:
    """All tickets of one link.

    Attributes:
        id: Random.
        until_s: When they end, by the wall clock.
    """

    id: str
    until_s: float


@dataclass(frozen=True, kw_only=True)
class Tickets:
    """Seals sessions into tickets, and opens them.

    Attributes:
        sealer: Seals for this purpose only.
        spent: Remembers which series were used.
        denies: Whether the session of these claims was ended here.
        now: The wall clock.
    """

    sealer: Sealer
    spent: Spent
    denies: Callable[[Claims], bool]
    now: Callable[[], float] = time.time

    def begin(self) -> Series:
        """Return a new series of tickets."""
        return Series(secrets.token_hex(16), self.now() + TICKET_S)

    def seal(self, session: Session, series: Series) -> str:
        """Return a ticket. It holds both tokens, and what the next attempt has to know of the user."""
        user = session.user
        factors = [factor for factor in user.factors if factor.get("status") == "verified"][:MAX_FACTORS]
        kept = ("id", "factor_type", "friendly_name", "status")
        value = {
            "series": series.id,
            "until": series.until_s,
            "session": {
                "access_token": session.access_token,
                "refresh_token": session.refresh_token,
                "expires_in": session.expires_in,
                "expires_at": session.expires_at,
                "aal": session.aal,
            },
            "id": user.id,
            "email": user.email,
            "factors": [{name: factor.get(name) for name in kept} for factor in factors],
        }
        return self.sealer.seal(value, good_for_s=series.until_s - self.now())

    def open(self, ticket: Ticket) -> tuple[Session, Series]:
        """Return the session of a ticket, and its series.

        Raises:
            LinkInvalid: It was changed, or has expired, or its session was ended here.
        """
        try:
            value = self.sealer.open(ticket.text)
        except Sealed:
            raise LinkInvalid("the ticket was changed or has expired") from None
        user = User(id=value["id"], email=value["email"], factors=value["factors"])
        session = Session(**value["session"], user=user)
        claims = claims_of_issued(session.access_token)
        if claims is not None and self.denies(claims):
            raise LinkInvalid("the session of the ticket was ended")
        return session, Series(value["series"], value["until"])

    @contextlib.contextmanager
    def using(self, series: Series) -> Iterator[None]:
        """Set the password within the block. If that fails, the tickets can be used again; otherwise never.

        Raises:
            LinkInvalid: One of them has set a password before, or does so in this moment.
        """
        name = f"ticket:{series.id}"
        if not self.spent.spend(name, series.until_s):
            raise LinkInvalid("the ticket was used before")
        try:
            yield
        except BaseException:
            self.spent.forget(name)
            raise
