"""Whether the guards refuse what exceeds their limits, or only report it (``AUTH_GUARDS``)."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Final

from velro_auth.health_checks import Finding

logger = logging.getLogger("velro_auth.guards")


def _ignore(_limit: str) -> None:
    """Do nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Enforcement:
    """Tells a guard what to do with a request that exceeds a limit.

    Attributes:
        is_on: Whether it is refused. Otherwise it is let through, and reported.
        on_refused: Called with the limit that refused a request.
        on_reported: Called with the limit that would have refused a request.
        on_good: Called with that limit when the request then turned out to be good: a right password or code.
    """

    is_on: bool = True
    on_refused: Callable[[str], None] = _ignore
    on_reported: Callable[[str], None] = _ignore
    on_good: Callable[[str], None] = _ignore

    def report(self, limit: str, *, account: str = "") -> None:
        """Count and log a request that would have been refused; *account* is an HMAC."""
        self.on_reported(limit)
        logger.info("a guard would have refused this request", extra={"limit": limit, "account": account or None})

    @contextlib.contextmanager
    def let_through(self, limit: str, *, account: str = "") -> Iterator[None]:
        """Report a request that would have been refused; if the block succeeds, report that it was a good one."""
        self.report(limit, account=account)
        yield
        self.on_good(limit)
        logger.info("a guard would have refused a good request", extra={"limit": limit, "account": account or None})


#: Refuses, and reports nothing.
ENFORCED: Final = Enforcement()


def only_reporting() -> Finding:
    """Return what ``/health/ready`` says while ``AUTH_GUARDS`` is ``report``."""
    return Finding("warn", "AUTH_GUARDS is report: guesses and floods of mails are counted and logged, not refused")
