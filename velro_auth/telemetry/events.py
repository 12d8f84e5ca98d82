"""Events that an operator should hear of, though each single one is answered properly."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from velro_auth.context import OVERSIZE, RequestContext

logger = logging.getLogger("velro_auth.alerts")

#: Event → what it means, for the log.
EVENTS: Final[Mapping[str, str]] = {
    "upstream_misconfigured": "Supabase refuses our key, address or project setting: nobody can log in",
    "upstream_throttled": "Supabase's rate limit was reached: is the caller's address passed on?",
    "upstream_db_trigger": "Supabase failed inside: look for a trigger or hook that raises on auth.users",
    "token_too_large": "an access token was handed out that is too large for an Authorization header: it works nowhere",
    "headers_too_large": "a request was refused because of a header that is too large",
}

#: How Supabase Auth names an error of its database, a trigger's among them; ``translate`` notes the code.
_DATABASE_FAILED: Final = "unexpected_failure"


def event_of(context: RequestContext) -> str | None:
    """Return the event that an answer tells of, if any."""
    if context.outcome in EVENTS:
        return context.outcome
    if context.notes.get("is_throttled"):
        # A refresh answers "busy" then.
        return "upstream_throttled"
    if context.outcome == "upstream_error" and _DATABASE_FAILED in str(context.notes.get("reason", "")):
        return "upstream_db_trigger"
    return "token_too_large" if OVERSIZE in context.notes else None


class EventLog:
    """Logs the first event of a kind at once, and then once a minute how many more there were; per process.

    Args:
        pause_s: How long the others of a kind are only counted.
        clock: Seconds that never go back.
    """

    def __init__(self, *, pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, event: str, context: RequestContext) -> None:
        """Log *event*, or count it towards the next line."""
        with self._lock:
            now = self._clock()
            if now < self._next.get(event, now):
                self._held[event] = self._held.get(event, 0) + 1
                return
            self._next[event] = now + self._pause_s
            held = self._held.pop(event, 0)
        logger.error(
            EVENTS[event],
            extra={
                "event": event,
                "request_id": context.request_id,
                "reason": context.notes.get("reason"),
                "more_since_last": held,
            },
        )
