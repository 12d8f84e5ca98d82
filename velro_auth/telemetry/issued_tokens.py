"""Checks samples of the tokens that logins and refreshes issue: would this service itself refuse them?

A request only stores its token. The periodic jobs check the newest one every few seconds, so no response waits.
All workers of the instance share the result.
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

#: A refused token counts for so long even if later ones are accepted: a hook may break the tokens of some users only.
HOLD_S: Final = 60.0

_ACCEPTED_AT, _REFUSED_AT, _CAUSE, _WIDTH = 0, 1, 2, 3


class IssuedTokens:
    """Checks the newest issued token of each worker.

    Args:
        check_token: Returns why a token is refused here; None when it is accepted.
    """

    def __init__(
        self,
        check_token: Callable[[str], Refused | None],
        workers: Workers,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._check_token = check_token
        self._table = Table(workers, _WIDTH)
        self._clock = clock
        # Holds at most one token, and only until the next check.
        self._newest: collections.deque[str] = collections.deque(maxlen=1)
        #: Stores an access token until the next check, in place of the one before.
        self.record: Final[Callable[[str], None]] = self._newest.append

    def check_newest(self) -> None:
        """Check the newest token, if one was issued since the last check."""
        try:
            token = self._newest.pop()
        except IndexError:
            return
        refused = self._check_token(token)
        before = self.cause()
        row = self._table.own_row()
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
        """Return why tokens are refused; None when the newest are accepted, or none was issued."""
        return CAUSES[int(self.cause_number())]

    def cause_number(self) -> float:
        """Return the index of the cause in :data:`CAUSES`; 0 for none."""
        latest = max(self._table.rows, key=lambda row: row[_REFUSED_AT])
        refused_at = latest[_REFUSED_AT]
        if not refused_at:
            return 0.0
        accepted_at = max(row[_ACCEPTED_AT] for row in self._table.rows)
        is_over = accepted_at > refused_at and self._clock() - refused_at >= HOLD_S
        return 0.0 if is_over else latest[_CAUSE]

    def check(self) -> Finding:
        """Return the readiness check. It only warns, because another instance would refuse the tokens, too."""
        cause = self.cause()
        return Finding("pass") if cause is None else Finding("warn", str(cause), cause.fix)

    def rule(self) -> Rule:
        """Return the rule for the alert."""
        return _TokenRule(
            name=ALERT,
            value=lambda _: self.cause_number(),
            # One token is enough.
            samples=lambda _: sys.maxsize,
            warning=1.0,
            critical=math.inf,
            text="",
        )


@dataclass(frozen=True, slots=True)
class _TokenRule(Rule):
    """A rule whose value is the number of a cause."""

    def describe(self, value: float, level: Level) -> str:  # noqa: ARG002 - the signature of Rule
        """Return the cause and what to set."""
        return str(CAUSES[int(value)])
