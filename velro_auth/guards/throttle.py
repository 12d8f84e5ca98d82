"""Decides whether a login may be tried at all, before anybody is asked."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from velro_auth.errors import InvalidCredentials, Throttled
from velro_auth.guards.attempts import Attempts, Refusal
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Allowance, Limits


class TooManyAttempts(Throttled):
    """A limit of the throttle is reached; nobody was asked.

    Attributes:
        scope: The limit, for the log and the metrics.
        allowance: What the caller has left, for the ``RateLimit`` fields.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"limit reached: {refusal.scope}", retry_after_s=refusal.wait_s)
        self.scope = refusal.scope
        self.allowance = refusal.allowance


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """A counted try whose outcome is not known yet.

    Attributes:
        is_known: Whether this account logged in from this network before.
        allowance: What the caller has left, this try included; for the ``RateLimit`` fields.
    """

    is_known: bool
    allowance: Allowance


def _nobody(_scope: str) -> None:
    """Tell nobody."""


class Throttle:
    """Stops password guessing without locking the owner out.

    Args:
        attempts: Where tries are counted.
        keyring: Turns accounts and addresses into counter names.
        on_refused: Told the limit that refused a try; for a metric.
    """

    def __init__(self, *, attempts: Attempts, keyring: Keyring, on_refused: Callable[[str], None] = _nobody) -> None:
        self._attempts = attempts
        self._keyring = keyring
        self._on_refused = on_refused

    def adjust(self, limits: Limits, *, share: float) -> None:
        """Judge by other limits from now on; see :class:`Attempts`."""
        self._attempts.adjust(limits, share=share)

    def name(self, account: str) -> str:
        """Return what *account* is called in logs and counters: an HMAC, never the address."""
        return self._keyring.account(account)

    @contextlib.contextmanager
    def attempt(self, account: str, address: str) -> Iterator[Attempt]:
        """Count one try for *account* from *address* around the question whether it is right.

        The try is counted before anybody is asked, so that a burst of parallel guesses cannot slip under the
        limit. A success gives it back, ends the streak and remembers the pair. A refused password stays
        counted. Anything else gives it back: an outage must not lock anybody out.

        Raises:
            TooManyAttempts: A limit is reached; ``retry_after_s`` is exact if nobody else tries meanwhile.
        """
        ticket = self._attempts.begin(self._keyring.caller(account, address))
        if isinstance(ticket, Refusal):
            self._on_refused(ticket.scope)
            raise TooManyAttempts(ticket)
        try:
            yield Attempt(ticket.is_known, ticket.allowance)
        except InvalidCredentials:
            raise
        except BaseException:
            self._attempts.settle(ticket, succeeded=False)
            raise
        self._attempts.settle(ticket, succeeded=True)
