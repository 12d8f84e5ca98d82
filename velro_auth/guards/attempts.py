"""What the throttle asks of its counters, and what they answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Allowance


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """One counted try, until its outcome is known.

    Attributes:
        caller: Whose it is.
        is_known: Whether the pair had logged in before.
        scopes: What it was counted under.
        stamp: When it was counted, on the store's clock.
        earlier: Per counted scope, when the try before it was counted.
        allowance: What the caller has left.
        shadow: The same try in the memory of this process; only tickets of a shared store have one.
    """

    caller: Caller
    is_known: bool
    scopes: tuple[str, ...]
    stamp: float
    earlier: tuple[float, ...]
    allowance: Allowance
    shadow: Ticket | None = None

    def but_for(self, scope: str) -> Ticket:
        """Return the ticket without *scope*: when it is settled, the try stays counted there."""
        kept = [(one, at) for one, at in zip(self.scopes, self.earlier, strict=True) if one != scope]
        return dataclasses.replace(
            self,
            scopes=tuple(one for one, _ in kept),
            earlier=tuple(at for _, at in kept),
            shadow=self.shadow and self.shadow.but_for(scope),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A try that was not counted, because a limit was reached.

    Attributes:
        scope: The limit that makes the caller wait longest.
        wait_s: When the try would be allowed if nobody else tried.
        allowance: What the caller has left of their own.
        own_scope: The same among the limits that others cannot use up, and a solution does not open; empty for none.
        own_wait_s: The same.
        failures: How many tries from the caller's own network failed within the last day.
    """

    scope: str
    wait_s: float
    allowance: Allowance
    own_scope: str
    own_wait_s: float
    failures: int = 0

    @property
    def is_openable(self) -> bool:
        """Whether only limits were reached that others can use up."""
        return not self.own_scope

    def own(self) -> Refusal:
        """Return what is left of the refusal for a caller who may solve a challenge."""
        return dataclasses.replace(self, scope=self.own_scope, wait_s=self.own_wait_s)


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

    def begin(self, caller: Caller, *, is_opened: bool = False) -> Ticket | Refusal:
        """Count one try in all scopes at once, or in none. Never raises.

        Args:
            caller: Who tries.
            is_opened: Whether the caller solved a challenge, so that limits that others used up do not count.
        """

    def settle(self, ticket: Ticket, *, succeeded: bool) -> None:
        """Give the try back; after a success also end the streaks and remember the pair. Never raises."""

    def show(
        self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()
    ) -> Sequence[Standing]:
        """Return the counters of an account or of a network and those around it (all are keys of a ``Keyring``)."""

    def release(self, *, account: str | None = None, network: str | None = None, wider: Sequence[str] = ()) -> int:
        """Forget the counters of an account or of a network; return how many there were."""
