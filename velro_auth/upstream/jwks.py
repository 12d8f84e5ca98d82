"""Keeps Supabase's public signing keys, so that tokens are verified without asking Supabase.

The life of a key set, by its age::

    0 ─────────── refresh_after ─────── ttl ─────────────────────── ttl + stale ──────
      used as is  used, one fetch runs  used only while fetches     not used: tokens
                  in the background     fail (stale-if-error)       cannot be verified here

PyJWT's own client fetches under one lock and forgets its keys when a fetch fails: with the endpoint hanging
for one second, eight threads waited one to eight seconds (measured), and an outage of it refuses all users.
Here the lock is never held during a fetch, each fetch has a short-lived thread of its own, and at most one
is under way. No thread exists before the first key is asked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from velro_auth.auth.keys import CannotVerify, Key, read_key_set
from velro_auth.background import after_fork

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimes:
    """The times of a key store, in seconds.

    Attributes:
        ttl_s: How long a key set is used without doubt: Supabase's own ``max-age``.
        refresh_after_s: When the next fetch starts, early enough that no request waits for it under traffic.
        stale_s: How long beyond ``ttl_s`` it is used when it cannot be fetched again.
        cooldown_s: The least time between two fetches: strangers can make up as many names of keys as they
            like. Also the pause after a failed fetch.
        eager_cooldown_s: The same while there is no usable key at all.
        wait_s: How long a reader waits for a fetch under way, if no token can be verified without it.
    """

    ttl_s: float = 600.0
    refresh_after_s: float = 480.0
    stale_s: float = 3600.0
    cooldown_s: float = 30.0
    eager_cooldown_s: float = 2.0
    wait_s: float = 2.5


@dataclass(frozen=True, slots=True)
class KeyState:
    """How a key store is, for health checks and metrics.

    Attributes:
        names: The names of the usable keys.
        age_s: The age of the set; None before the first one.
        is_stale: Whether it is older than its TTL: fetches fail, or no key was looked up since.
        is_failing: Whether the last fetch failed.
        fetches: Fetches started so far.
        failures: Those that failed.
    """

    names: tuple[str, ...]
    age_s: float | None
    is_stale: bool
    is_failing: bool
    fetches: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One key set and when its fetch began, replaced as a whole so that readers need no lock."""

    keys: Mapping[str, Key]
    fetched_s: float


@dataclass(slots=True)
class _Progress:
    """What is being fetched, and what came of it before. Guarded by the store's lock."""

    under_way: threading.Event | None = None
    attempted_s: float = float("-inf")
    last_failed: bool = False
    is_closed: bool = False
    purges: int = 0
    fetches: int = 0
    failures: int = 0
    waiting: int = 0
    thread: threading.Thread | None = field(default=None, repr=False)


class KeyStore:
    """Supabase's signing keys, fetched in the background and never under a lock.

    One per process; a child that is forked starts fetches of its own.

    Args:
        fetch: Returns the JWKS document, or raises. It has to end by itself: the store sets no time limit.
        times: See :class:`KeyTimes`.
        max_waiting: How many readers with an unknown key may wait for a fetch under way; how many of all readers
            while there is no key set and fetches fail. The others are told at once, so that neither made-up names
            of keys nor an outage can occupy every thread.
        clock: A clock that never jumps.
    """

    def __init__(
        self,
        *,
        fetch: Callable[[], bytes],
        times: KeyTimes | None = None,
        max_waiting: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._times = times or KeyTimes()
        self._max_waiting = max_waiting
        self._clock = clock
        self._snapshot: _Snapshot | None = None
        self._progress = _Progress()
        self._lock = threading.Lock()
        after_fork(self)

    def find(self, kid: str) -> Key:
        """Return the key named *kid*.

        Raises:
            CannotVerify: No such key is known at the moment. It may be a new key of a rotation that has just
                happened, so the token is not refused.
        """
        snapshot = self._usable()
        key = snapshot.keys.get(kid)
        if key is None:
            key = self._newer(snapshot).keys.get(kid)
        if key is None:
            raise CannotVerify(f"the signing key {kid[:64]!r} is not known")
        return key

    def trusts(self, key: Key, *, waits: bool = True) -> bool:
        """Return whether *key* is still in the key set; False when there is no usable set.

        Args:
            key: A key that was found earlier.
            waits: Whether this may wait for a key set that is being fetched.
        """
        try:
            found = self._usable(waits=waits).keys.get(key.kid)
        except CannotVerify:
            return False
        return found is key or found == key

    def warm(self) -> None:
        """Start the first fetch without waiting for it. Call it in a worker, after the fork."""
        if self._snapshot is None:
            self._start_fetch(self._times.eager_cooldown_s)

    def purge(self) -> None:
        """Forget all keys; the next reader waits for new ones. For a key that was revoked at once."""
        with self._lock:
            # An answer that was asked for before the purge may still hold the revoked key.
            self._progress.purges += 1
            self._progress.attempted_s = float("-inf")
            self._progress.under_way = None
            self._snapshot = None

    def close(self) -> None:
        """Start no more fetches and wait for the one under way."""
        with self._lock:
            self._progress.is_closed = True
            thread = self._progress.thread
        if thread is not None:
            thread.join(self._times.wait_s)

    def state(self) -> KeyState:
        """Return how the store is. Costs no fetch and waits for nothing."""
        snapshot, progress = self._snapshot, self._progress
        age_s = None if snapshot is None else self._clock() - snapshot.fetched_s
        return KeyState(
            names=tuple(snapshot.keys) if snapshot is not None else (),
            age_s=age_s,
            is_stale=age_s is not None and age_s > self._times.ttl_s,
            is_failing=progress.last_failed,
            fetches=progress.fetches,
            failures=progress.failures,
        )

    def _usable(self, *, waits: bool = True) -> _Snapshot:
        """Return the key set in force, and see to it that a newer one is on its way when it ages.

        Raises:
            CannotVerify: There is none.
        """
        snapshot = self._snapshot
        if snapshot is not None:
            age_s = self._clock() - snapshot.fetched_s
            if age_s < self._times.refresh_after_s:
                return snapshot
            fetching = self._start_fetch(self._times.cooldown_s)
            if age_s <= self._times.ttl_s or (age_s <= self._last_resort_s and self._progress.last_failed):
                return snapshot
        else:
            fetching = self._start_fetch(self._times.eager_cooldown_s)
        if not waits:
            raise CannotVerify("the signing keys are being fetched")
        return self._awaited(fetching)

    def _awaited(self, fetching: threading.Event | None) -> _Snapshot:
        """Wait for the fetch under way, because no token can be verified without it."""
        if fetching is not None:
            # At the start all readers may wait. When fetches fail, only some: an outage must not occupy every thread.
            self._wait_for(fetching, is_bounded=self._progress.last_failed)
        snapshot = self._snapshot
        if snapshot is None or self._clock() - snapshot.fetched_s > self._last_resort_s:
            raise CannotVerify("the signing keys could not be fetched")
        return snapshot

    def _newer(self, snapshot: _Snapshot) -> _Snapshot:
        """Return a set that is newer than *snapshot* if there is one soon, else *snapshot*."""
        fetching = self._start_fetch(self._times.cooldown_s)
        if fetching is not None:
            self._wait_for(fetching, is_bounded=True)
        return self._snapshot or snapshot

    def _wait_for(self, fetching: threading.Event, *, is_bounded: bool) -> None:
        with self._lock:
            if is_bounded and self._progress.waiting >= self._max_waiting:
                return
            self._progress.waiting += 1
        try:
            fetching.wait(self._times.wait_s)
        finally:
            with self._lock:
                self._progress.waiting -= 1

    @property
    def _last_resort_s(self) -> float:
        return self._times.ttl_s + self._times.stale_s

    def _start_fetch(self, cooldown_s: float) -> threading.Event | None:
        """Return the end of the fetch under way, after starting one unless the last is too recent."""
        with self._lock:
            progress = self._progress
            if progress.under_way is not None:
                return progress.under_way
            if progress.is_closed or self._clock() - progress.attempted_s < cooldown_s:
                return None
            progress.attempted_s = started_s = self._clock()
            done = threading.Event()
            thread = threading.Thread(
                target=self._fetch_once, args=(done, started_s, progress.purges), name="jwks", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                log.warning("No thread could be started to fetch the signing keys")
                return None
            # Only now, and in time: the thread needs this lock to report its end.
            progress.under_way, progress.thread = done, thread
            progress.fetches += 1
            return done

    def _fetch_once(self, done: threading.Event, started_s: float, purges: int) -> None:
        keys: Mapping[str, Key] | None = None
        try:
            keys = read_key_set(self._fetch())
        except Exception as error:  # noqa: BLE001 (after any error the present keys stay in force)
            log.warning("The signing keys could not be fetched: %s: %s", type(error).__name__, error)
        with self._lock:
            progress = self._progress
            if progress.purges == purges:
                progress.under_way = None
                progress.last_failed = keys is None
                progress.failures += keys is None
                if keys is not None:
                    self._snapshot = _Snapshot(keys, started_s)
        done.set()

    def after_fork(self) -> None:
        """Forget the parent's thread and lock: neither exists in the child."""
        self._lock = threading.Lock()
        self._progress.under_way = self._progress.thread = None
        self._progress.attempted_s = float("-inf")
        self._progress.waiting = 0
