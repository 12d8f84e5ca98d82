"""The client for Redis or Valkey, and what every user of it needs: timeouts, back-off after a failure, and advice."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import redis
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from velro_auth.health_checks import Finding

logger = logging.getLogger("velro_auth.guards")

#: Long enough for a busy machine: after a false alarm each process counts alone for a while. Short enough for the one
#: request that has to wait for it.
TIMEOUT_S: Final = 0.5

#: What a client raises. ValueError: a reply that makes no sense, because the address is no Redis.
STORE_ERRORS: Final = (redis.RedisError, OSError, ValueError)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

#: A failure this long after the last one starts with the shortest pause again.
CALM_S: Final = 60.0

#: What to do, and the errors of a Redis that answers but refuses to work. Errors inside a script have no class of their
#: own: they are recognised by a part of their text.
_ADVICE: Final[Sequence[tuple[str, tuple[type[Exception], ...], tuple[str, ...]]]] = (
    (
        "it is a Redis Cluster, which keeps keys apart that belong together: use a Redis without cluster mode",
        (errors.ClusterCrossSlotError, errors.AskError, errors.TryAgainError, errors.ClusterDownError),
        ("in a cluster node",),
    ),
    (
        (
            "its user lacks rights: allow 'ACL SETUSER <user> ~velro* &velro* +@read +@write +@transaction +@scripting"
            " +@pubsub +@connection +info +time'"
        ),
        (errors.NoPermissionError,),
        ("ACL failure in script", "The user executing the script can't"),
    ),
    (
        "it is a read-only replica: use the address of the primary",
        (errors.ReadOnlyError,),
        ("can't write against a read only",),
    ),
    (
        "it is full: give it more memory (maxmemory), with maxmemory-policy noeviction",
        (errors.OutOfMemoryError,),
        ("command not allowed when used memory",),
    ),
    ("it refuses the user or the password of REDIS_URL", (errors.AuthenticationError,), ()),
)


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """Return a client for *url* with short timeouts and without retries; it connects on first use.

    ``StoreBackoff`` decides when the next request tries again. The worker's threads limit the connections; a smaller
    limit of the pool would make a busy moment look like a failing store.
    """
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    return redis.Redis.from_url(url, **timeouts, retry=Retry(NoBackoff(), 0), max_connections=1024)


def advice_for(error: BaseException) -> str:
    """Return what is wrong with a Redis that answered with *error*, and what to do; empty if it did not answer."""
    for advice, kinds, texts in _ADVICE:
        if isinstance(error, kinds) or any(text in str(error) for text in texts):
            return advice
    return ""


class RedisUnavailable(Exception):
    """Redis does not answer, or failed a moment ago. Stays within ``stores``: every user can go on without Redis."""


class StoreBackoff:
    """Decides whether the shared store is asked now, after failures.

    A failing store costs each request a timeout. So after a failure it is not asked for one second, then for two,
    four … thirty. After each pause one request asks, and the others go on without the store. The lock is never held
    during a call, and the back-off goes on if that request never reports an outcome.

    Args:
        what: The data in the store, for the log.
        instead: What happens without the store, for the log.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        what: str = "login counters",
        instead: str = "this process counts alone, with its share of the limits",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._instead = instead
        self._clock = clock
        self._lock = threading.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._paused_until: float | None = None
        self._advice = ""
        self._last_recovery = -math.inf

    @property
    def is_degraded(self) -> bool:
        """Whether the store failed and has not answered since."""
        return self._paused_until is not None

    @property
    def problem(self) -> str:
        """The problem, for the operator; empty while the store works."""
        if not self.is_degraded:
            return ""
        fault = f"refuses to work ({self._advice})" if self._advice else "does not answer"
        return f"the store of {self._what} {fault}: {self._instead}"

    @contextlib.contextmanager
    def attempt(
        self, *, in_background: bool = False, failures: tuple[type[Exception], ...] = (redis.RedisError, OSError)
    ) -> Iterator[None]:
        """Send commands to Redis within the block.

        Args:
            in_background: Whether no request waits for them. Such an attempt is always made, and its success ends the
                pause for all.
            failures: The errors that count as a failure of Redis.

        Raises:
            RedisUnavailable: The commands failed, or others failed a moment ago.
        """
        if not in_background and not self.may_ask():
            raise RedisUnavailable("Redis failed a moment ago")
        try:
            yield
        except failures as error:
            self.failed(error)
            raise RedisUnavailable(str(error)) from error
        self.succeeded()

    def may_ask(self) -> bool:
        """Return whether this caller should ask the store."""
        if self._paused_until is None:
            return True
        with self._lock:
            now = self._clock()
            if self._paused_until is None or now < self._paused_until:
                return self._paused_until is None
            # This caller asks for all; for the others a longer pause begins.
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._paused_until = now + self._pause_s
            return True

    def succeeded(self) -> None:
        """Report that the store answered."""
        if self._paused_until is None:
            return
        with self._lock:
            was_degraded, self._paused_until = self._paused_until is not None, None
            self._last_recovery = self._clock()
        if was_degraded:
            logger.warning("the shared store answers again: %s", self._what)

    def failed(self, error: Exception) -> None:
        """Report that the store did not answer, or answered with an error."""
        advice = advice_for(error)
        with self._lock:
            # Kept up to date: a store may answer again, but refuse to work.
            self._advice = advice
            if self._paused_until is not None:
                return
            now = self._clock()
            if now - self._last_recovery >= CALM_S:
                self._pause_s = FIRST_PAUSE_S
            self._paused_until = now + self._pause_s
        name = type(error).__name__
        if advice:
            logger.error("the shared store refuses to work (%s): %s; %s, %s", name, advice, self._what, self._instead)
        else:
            logger.warning("the shared store does not answer (%s): %s, %s", name, self._what, self._instead)


def sessions_backoff() -> StoreBackoff:
    """Return the back-off for the store of refreshes and logouts."""
    return StoreBackoff(what="refreshes and logouts", instead="this process knows of its own only")


@dataclass(frozen=True)
class SharedStore:
    """The back-off states of Redis in one process: for the throttle's counters, and for refreshes and logouts."""

    counters: StoreBackoff = field(default_factory=StoreBackoff)
    sessions: StoreBackoff = field(default_factory=sessions_backoff)

    def is_degraded(self) -> bool:
        """Return whether this process goes on without Redis now, for counters or sessions."""
        return self.counters.is_degraded or self.sessions.is_degraded

    def check(self) -> Finding:
        """Return the finding for ``/health/ready``: a warning at most, because no request fails."""
        problems = [backoff.problem for backoff in (self.counters, self.sessions) if backoff.is_degraded]
        return Finding("warn", "; ".join(problems)) if problems else Finding("pass")
