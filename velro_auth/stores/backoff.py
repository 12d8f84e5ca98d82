"""Lets a shared store rest after it failed, so that nobody waits for it twice in a row."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from velro_auth.stores.advice import refusal_of

logger = logging.getLogger("velro_auth.guards")

FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 30.0

#: Trouble this long after the last one starts again with the shortest rest.
CALM_S: Final = 60.0


def _nobody(_degraded: float) -> None:
    """Tell nobody."""


class StoreBackoff:
    """Says whether the shared store is asked just now.

    After a failure it is left alone for a second, then for two, four … thirty. When a rest is over one caller
    asks and all others go on without. Nobody waits under the lock, and a caller that never reports back
    changes nothing: the next one asks after the next rest.

    Args:
        what: What is kept in the store, for the log.
        instead: What happens meanwhile, for the log.
        clock: Seconds that never go back.
        on_degraded: Told 1 when the store fails, 0 when it works again; fits a gauge's ``set``.
        first_s: The first rest.
        longest_s: The longest rest.
    """

    def __init__(
        self,
        *,
        what: str = "login counters",
        instead: str = "this process counts alone, with its share of the limits",
        clock: Callable[[], float] = time.monotonic,
        on_degraded: Callable[[float], None] = _nobody,
        first_s: float = FIRST_REST_S,
        longest_s: float = LONGEST_REST_S,
    ) -> None:
        self._what = what
        self._instead = instead
        self._clock = clock
        self._on_degraded = on_degraded
        self._first_s = first_s
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._rest_s = first_s
        self._until: float | None = None
        self._refusal = ""
        self._last_trouble = -math.inf

    @property
    def is_degraded(self) -> bool:
        """Whether the store failed and has not worked since."""
        return self._until is not None

    @property
    def trouble(self) -> str:
        """What an operator should know; empty while the store works."""
        if not self.is_degraded:
            return ""
        refusal = self._refusal
        fault = f"refuses to work ({refusal})" if refusal else "does not answer"
        return f"the store of {self._what} {fault}: {self._instead}"

    def may_ask(self) -> bool:
        """Return whether this caller should ask the store."""
        if self._until is None:
            return True
        with self._lock:
            now = self._clock()
            if self._until is None or now < self._until:
                return self._until is None
            # This caller asks for all; the others have another, longer rest meanwhile.
            self._rest_s = min(self._longest_s, 2 * self._rest_s)
            self._until = now + self._rest_s
            return True

    def worked(self) -> None:
        """Note that the store answered."""
        if self._until is None:
            return
        with self._lock:
            was_degraded, self._until = self._until is not None, None
            self._last_trouble = self._clock()
        if was_degraded:
            self._on_degraded(0.0)
            logger.warning("the shared store answers again: %s", self._what)

    def failed(self, error: Exception) -> None:
        """Note that the store did not answer, or not as it should."""
        refusal = refusal_of(error)
        with self._lock:
            # Kept up to date: a store may answer again, only to refuse.
            self._refusal = refusal
            if self._until is not None:
                return
            now = self._clock()
            if now - self._last_trouble >= CALM_S:
                self._rest_s = self._first_s
            self._until = now + self._rest_s
        self._on_degraded(1.0)
        name = type(error).__name__
        if refusal:
            logger.error("the shared store refuses to work (%s): %s; %s, %s", name, refusal, self._what, self._instead)
        else:
            logger.warning("the shared store does not answer (%s): %s, %s", name, self._what, self._instead)


def sessions_rest() -> StoreBackoff:
    """Return what decides when the store of refreshes and logouts is asked again."""
    return StoreBackoff(what="refreshes and logouts", instead="this process knows of its own only")
