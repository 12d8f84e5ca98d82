"""The client for Redis or Valkey, and what every user of it needs: timeouts, back-off after a failure, and advice."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import redis
from redis import exceptions as errors

from velro_auth.background import Background
from velro_auth.health_checks import Finding
from velro_auth.stores.address import parse_address
from velro_auth.stores.advice import advice_for
from velro_auth.stores.connections import open_client, write_probes
from velro_auth.stores.recent_tries import RecentTries

logger = logging.getLogger("velro_auth.guards")

#: Long enough for a busy machine: after a false alarm each process counts alone for a while. Short enough for the one
#: request that has to wait for it.
TIMEOUT_S: Final = 0.5

#: What a client raises while the store does not work. redis-py's error of a cluster is no RedisError.
FAILURES: Final = (redis.RedisError, errors.RedisClusterException, OSError)

#: The same, and ValueError: a reply that makes no sense, because the address is no Redis.
STORE_ERRORS: Final = (*FAILURES, ValueError)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

#: A failure this long after the last one starts with the shortest pause again.
CALM_S: Final = 60.0


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """Return a client for *url* with short timeouts and without retries; it connects on first use.

    ``StoreBackoff`` decides when the store is asked again.

    Raises:
        ValueError: *url* is no address of a Redis.
    """
    return open_client(parse_address(url), timeout_s=timeout_s)


def _ignore() -> None:
    """Do nothing after a recovery."""


class RedisUnavailable(Exception):
    """Redis does not answer, or failed a moment ago. Only ``stores`` handles it: every user can go on without Redis."""


class StoreBackoff:
    """Decides whether the shared store is asked now, after failures.

    A failing store costs each request a timeout. So after a failure it is not asked for a while. With a *probe* no
    request asks until a thread in the background has found that the store works: after one second, and each second from
    then on. A request that began before the failure and succeeds after it proves nothing: in a cluster one node may be
    away while the others work. Without a probe the store is asked again after one second, then after two, four …
    thirty: after each pause one request asks, and the others go on without the store. The lock is never held during a
    call, and the back-off goes on if that request never reports an outcome.

    Args:
        what: The data in the store, for the log.
        instead: What happens without the store, for the log.
        clock: A monotonic clock, in seconds.
        probe: Uses the store as requests do, or raises an error. Called in the background, only after a failure.
    """

    def __init__(
        self,
        *,
        what: str = "login counters",
        instead: str = "this process counts alone, with its share of the limits",
        clock: Callable[[], float] = time.monotonic,
        probe: Callable[[], object] | None = None,
    ) -> None:
        self._what = what
        self._instead = instead
        self.clock: Final = clock
        self._probe = probe
        self._prober = Background(self._keep_probing, name="store-probe")
        self._closed = threading.Event()
        self._beside: StoreBackoff | None = None
        self._lock = threading.Lock()
        self._pause_s = FIRST_PAUSE_S
        self._paused_until: float | None = None
        self._advice = ""
        self._last_recovery = -math.inf
        #: When it failed last, by the same clock.
        self.failed_s = -math.inf
        #: How often the store worked again after a failure. It may have lost its last writes then.
        self.recoveries = 0
        #: Called after each recovery.
        self.on_recovery: Callable[[], object] = _ignore

    def tell(self, other: StoreBackoff) -> None:
        """Report missing answers to *other* too: it guards the same store, and must not wait for the store again."""
        self._beside = other

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

    def close(self) -> None:
        """Stop probing."""
        self._closed.set()
        self._prober.end()

    @contextlib.contextmanager
    def attempt(
        self, *, in_background: bool = False, failures: tuple[type[Exception], ...] = FAILURES
    ) -> Iterator[None]:
        """Send commands to Redis within the block.

        Args:
            in_background: Whether no request waits for them. Such an attempt is always made. Without a probe its
                success ends the pause for all.
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
        if self._probe is None:
            self.succeeded()

    def may_ask(self) -> bool:
        """Return whether this caller should ask the store."""
        if self._paused_until is None:
            return True
        if self._probe is not None:
            self._prober.ensure()
            return False
        with self._lock:
            now = self.clock()
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
            self._last_recovery = self.clock()
            self.recoveries += was_degraded
        if was_degraded:
            logger.warning("the shared store answers again: %s", self._what)
            self.on_recovery()

    def failed(self, error: Exception) -> None:
        """Report that the store did not answer, or answered with an error."""
        advice = advice_for(error)
        self.note(error, advice)
        if self._beside is not None and not advice:
            self._beside.note(error, advice)

    def note(self, error: Exception, advice: str) -> None:
        """Do the same, with the advice for *error*, and report it to no other."""
        with self._lock:
            # Kept up to date: a store may answer again, but refuse to work.
            self._advice = advice
            if self._paused_until is not None:
                return
            now = self.clock()
            if now - self._last_recovery >= CALM_S:
                self._pause_s = FIRST_PAUSE_S
            elif self._probe is not None:
                self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._paused_until, self.failed_s = now + self._pause_s, now
        name = type(error).__name__
        if advice:
            logger.error("the shared store refuses to work (%s): %s; %s, %s", name, advice, self._what, self._instead)
        else:
            logger.warning("the shared store does not answer (%s): %s, %s", name, self._what, self._instead)
        if self._probe is not None:
            self._prober.ensure()

    def _keep_probing(self) -> None:
        """Call the probe until it succeeds, or until another caller has found that the store works."""
        pause_s = self._pause_s
        while self.is_degraded and not self._closed.wait(pause_s):
            pause_s = FIRST_PAUSE_S
            if self.is_degraded and self._is_answering():
                self.succeeded()

    def _is_answering(self) -> bool:
        try:
            assert self._probe is not None
            self._probe()
        except STORE_ERRORS as error:
            with self._lock:
                self._advice = advice_for(error)
            return False
        except Exception:
            # The thread must survive a defect, or this process would never ask the store again.
            logger.exception("the probe of the shared store failed")
            return False
        return True


def sessions_backoff(probe: Callable[[], object] | None = None) -> StoreBackoff:
    """Return the back-off for the store of refreshes and logouts."""
    return StoreBackoff(what="refreshes and logouts", instead="this process knows of its own only", probe=probe)


@dataclass(frozen=True)
class SharedStore:
    """The back-off states of Redis in one process: for the throttle's counters, and for refreshes and logouts.

    Attributes:
        client: The client of all users of the store. The probes use it too, so that it knows the nodes of a cluster
            that are primaries now before requests ask again. None: each user makes its own.
        recent: The latest login tries of this process; a settings reload must not lose those that Redis may lack.
    """

    counters: StoreBackoff = field(default_factory=StoreBackoff)
    sessions: StoreBackoff = field(default_factory=sessions_backoff)
    client: redis.Redis | None = None
    recent: RecentTries = field(default_factory=lambda: RecentTries(time.monotonic))

    @classmethod
    def of(cls, url: str, *, prefix: str) -> SharedStore:
        """Return the states for the store at *url*: no request waits for it twice, and a thread finds it again.

        Args:
            url: Its address.
            prefix: The beginning of every key.
        """
        client = connect(url)
        store = cls(
            counters=StoreBackoff(probe=lambda: write_probes(client, f"{prefix}:probe:counters")),
            sessions=sessions_backoff(probe=lambda: write_probes(client, f"{prefix}:probe:sessions")),
            client=client,
        )
        store.counters.tell(store.sessions)
        store.sessions.tell(store.counters)
        return store

    def close(self) -> None:
        """Stop looking for a store that is away."""
        self.counters.close()
        self.sessions.close()

    def is_degraded(self) -> bool:
        """Return whether this process goes on without Redis now, for counters or sessions."""
        return self.counters.is_degraded or self.sessions.is_degraded

    def check(self) -> Finding:
        """Return the finding for ``/health/ready``: a warning at most, because no request fails."""
        problems = [backoff.problem for backoff in (self.counters, self.sessions) if backoff.is_degraded]
        return Finding("warn", "; ".join(problems)) if problems else Finding("pass")
