"""Samples the tokens that logins and refreshes hand out, and tells when this service itself would refuse them.

A request only leaves its token behind. The watch judges the newest one every few seconds, so no answer waits, and
what it finds is shared by all workers of the instance.
"""

from __future__ import annotations

import collections
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from velro_auth.auth.token_check import CAUSES, Cause, Refused
from velro_auth.health_checks import Finding
from velro_auth.telemetry.shared import Table, Workers
from velro_auth.telemetry.slo import Level, Rule

logger = logging.getLogger("velro_auth.alerts")

#: The name of the alert.
ALERT: Final = "login_tokens"

#: A refused token counts for so long, though others were accepted since: a hook may spoil only some users' tokens.
HOLD_S: Final = 60.0

_ACCEPTED_AT, _REFUSED_AT, _CAUSE, _WIDTH = 0, 1, 2, 3


class IssuedTokens:
    """Judges the newest token that was handed out, each time it is asked to look.

    Args:
        refused: Says why a token is refused here; None when it is not.
        workers: The processes of this instance.
        clock: Seconds that never go back, the same in all processes.
    """

    def __init__(
        self,
        refused: Callable[[str], Refused | None],
        workers: Workers,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refused = refused
        self._table = Table(workers, _WIDTH)
        self._clock = clock
        # Holds one token at most, and none for longer than until the next look.
        self._newest: collections.deque[str] = collections.deque(maxlen=1)

    def note(self, token: str) -> None:
        """Remember an access token until the next look, instead of the one before."""
        self._newest.append(token)

    def look(self) -> None:
        """Judge the token that was handed out last, if there was one since the last look."""
        try:
            token = self._newest.pop()
        except IndexError:
            return
        refused = self._refused(token)
        before = self.cause()
        row = self._table.mine()
        if refused is None:
            row[_ACCEPTED_AT] = self._clock()
            return
        row[_CAUSE] = CAUSES.index(refused.cause)
        row[_REFUSED_AT] = self._clock()
        if before is not refused.cause:
            logger.error(
                "a login was answered with a token that this service refuses",
                extra={"cause": refused.cause.name, "detail": refused.detail, "advice": refused.cause.fix},
            )

    def cause(self) -> Cause | None:
        """Return why tokens are refused; None when the newest ones are accepted, or there was none."""
        return CAUSES[int(self.number())]

    def number(self) -> float:
        """Return the same as its number in :data:`CAUSES`."""
        worst = max(self._table.rows, key=lambda row: row[_REFUSED_AT])
        refused_at = worst[_REFUSED_AT]
        if not refused_at:
            return 0.0
        accepted_at = max(row[_ACCEPTED_AT] for row in self._table.rows)
        is_over = accepted_at > refused_at and self._clock() - refused_at >= HOLD_S
        return 0.0 if is_over else worst[_CAUSE]

    def check(self) -> Finding:
        """Return what readiness says: a warning, since another instance would do no better."""
        cause = self.cause()
        return Finding("pass") if cause is None else Finding("warn", str(cause), cause.fix)

    def rule(self) -> Rule:
        """Return the demand on the tokens, for the alerts."""
        return _TokenRule(
            name=ALERT,
            value=lambda _: self.number(),
            # One token is enough.
            samples=lambda _: sys.maxsize,
            warning=1.0,
            critical=math.inf,
            text="",
        )


@dataclass(frozen=True, slots=True)
class _TokenRule(Rule):
    """Its value is the number of a cause."""

    def describe(self, value: float, level: Level) -> str:  # noqa: ARG002 - the rule's signature
        """Say what is the matter and what to set."""
        return str(CAUSES[int(value)])
