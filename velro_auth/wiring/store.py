"""What several processes share through Redis, as operators see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from velro_auth.health_checks import Finding
from velro_auth.stores.backoff import StoreBackoff, sessions_rest


@dataclass(frozen=True)
class SharedStore:
    """Whether Redis works for those who use it, each of whom has a way to go on without.

    Attributes:
        counters: The throttle's.
        sessions: That of refreshes and logouts.
    """

    counters: StoreBackoff = field(default_factory=StoreBackoff)
    sessions: StoreBackoff = field(default_factory=sessions_rest)

    def is_degraded(self) -> bool:
        """Return whether anything goes on without Redis just now."""
        return self.counters.is_degraded or self.sessions.is_degraded

    def check(self) -> Finding:
        """Return what ``/health/ready`` says: a warning, because no request fails for it."""
        troubles = [rest.trouble for rest in (self.counters, self.sessions) if rest.is_degraded]
        return Finding("warn", "; ".join(troubles)) if troubles else Finding("pass")
