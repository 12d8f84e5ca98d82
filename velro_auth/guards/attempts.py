"""What the throttle asks of its counters, and what they answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Allowance, Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """One counted try, until its outcome is known.

    Attributes:
        caller: Whose it is.
        is_known: Whether the pair had logged in before.
        stamp: When it was counted, on the store's clock.
        earlier: Per counted scope, when the try before it was counted.
        allowance: What the caller has left.
        shadow: The same try in the memory of this process; only tickets of a shared store have one.
    """

    caller: Caller
    is_known: bool
    stamp: float
    earlier: tuple[float, ...]
    allowance: Allowance
    shadow: Ticket | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A try that was not counted, because a limit was reached.

    Attributes:
        scope: The limit that makes the caller wait longest.
        wait_s: When the try would be allowed if nobody else tried.
        allowance: What the caller has left of their own.
    """

    scope: str
    wait_s: float
    allowance: Allowance


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """One counter, for the operator.

    Attributes:
        key: Its name in the store.
        scope: The limit it belongs to.
        streak: Failures in a row.
        wait_s: How long it makes its caller wait now.
    """

    key: str
    scope: str
    streak: int
    wait_s: float


class Attempts(Protocol):
    """Counters of login tries: in memory, or shared in Redis."""

    def begin(self, caller: Caller) -> Ticket | Refusal:
        """Count one try in all scopes at once, or in none. Never raises."""

    def adjust(self, limits: Limits, *, share: float) -> None:
        """Judge by other limits from now on; nothing that was counted is forgotten.

        Args:
            limits: The limits, for all processes together.
            share: The part of them that one process may grant where each counts alone.
        """

    def settle(self, ticket: Ticket, *, succeeded: bool) -> None:
        """Give the try back; after a success also end the streaks and remember the pair. Never raises."""

    def show(self, *, account: str | None = None, network: str | None = None) -> Sequence[Standing]:
        """Return the counters of an account or of a network (both are keys of a ``Keyring``)."""

    def release(self, *, account: str | None = None, network: str | None = None) -> int:
        """Forget the counters of an account or of a network; return how many there were."""
