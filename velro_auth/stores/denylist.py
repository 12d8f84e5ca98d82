"""The deny-list, shared by all processes through Redis or Valkey.

Asking Redis about every token would make the common case, a token seen before, nine times slower (measured on one
machine, over a unix socket: 45 µs for the round trip, 6 µs for everything else; a network adds its own time), and every
request would depend on Redis. So each process keeps the whole list in memory and receives changes::

    logout → 1. memory    2. merge, SET with expiry, index, PUBLISH → every process's listener: memory, INCR ack
                          3. wait until all listeners have acknowledged (at most ack_s), then answer 200

The next request after the 200 finds the denial in every process. A process whose listener may have lost its connection
(silent for two heartbeats, or only starting) asks Redis about each token until the listener is connected.

Redis unavailable: every process knows only its own logouts, and no request fails. The listener tries again twice a
second. Redis back, even empty: each listener first fetches the list, then adds its own denials, so logouts made
meanwhile reach all processes. It does the same when the store works again after a failure while its own connection
lived on, as in a cluster of which one primary was lost: the new primary may lack the last denials. A connection that
dies silently is noticed after two heartbeats; denials of other processes in those seconds arrive when the connection
is back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from typing import Final

from redis.client import PubSub

from velro_auth.auth.denylist import Denial, MemoryDenyList
from velro_auth.auth.tokens import Claims
from velro_auth.background import Background, after_fork
from velro_auth.stores.client import RedisUnavailable, StoreBackoff, sessions_backoff
from velro_auth.stores.denylist_codec import DenialsInRedis, read_message

log = logging.getLogger(__name__)

#: The time of the last message of a listener that is not connected.
_NEVER: Final = float("-inf")


class RedisDenyList:
    """A deny-list that all processes share. The listening thread starts with the first token checked.

    Args:
        store: The list in Redis.
        memory: The list of this process.
        backoff: Shared with other users of the same Redis.
        ack_s: How long a logout waits for the acknowledgements of all processes, in seconds.
        heartbeat_s: How often a quiet connection is tested. After two without an answer it counts as lost.
    """

    def __init__(
        self,
        *,
        store: DenialsInRedis,
        memory: MemoryDenyList | None = None,
        backoff: StoreBackoff | None = None,
        ack_s: float = 0.25,
        heartbeat_s: float = 1.0,
    ) -> None:
        self._store = store
        self._memory = memory or MemoryDenyList()
        self._backoff = backoff or sessions_backoff()
        self._ack_s = ack_s
        self._heartbeat_s = heartbeat_s
        self._closed = threading.Event()
        self._listener = Background(self._keep_listening, name="deny-list")
        self._lock = threading.Lock()
        self._heard_s = _NEVER
        after_fork(self)

    @property
    def is_live(self) -> bool:
        """Whether this process receives every logout at once."""
        with self._lock:
            return time.monotonic() - self._heard_s < 2 * self._heartbeat_s

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that this process saw, in seconds."""
        return self._memory.longest_s

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on, in every process. Never raises: memory has them in any case."""
        denials = list(denials)
        self._memory.deny(denials)
        self._share(denials)

    def denies(self, claims: Claims, *, waits: bool = True) -> bool:
        """Return whether the session of these claims was ended. Asks Redis only while not live.

        Args:
            claims: The claims of a good token.
            waits: Whether Redis may be asked. While not live, the result is True without it.
        """
        if waits:
            self._catch_up_on(claims)
        elif not self.is_live:
            return True
        return self._memory.denies(claims)

    def mark(self) -> int:
        """Return a mark for :meth:`admits`."""
        return self._memory.mark()

    def admits(self, claims: Claims, mark: int) -> bool:
        """Return whether a session that Supabase began after *mark* may be given to the client.

        If that exempts it from a denial, all processes learn it first: its next request may reach any of them.
        """
        self._catch_up_on(claims)
        changed = self._memory.exempt(claims, mark)
        if changed:
            self._share(changed)
        return not self._memory.denies(claims)

    def start(self) -> None:
        """Start listening, without waiting for anything. Call it in a worker, after the fork."""
        self._listener.ensure()

    def close(self) -> None:
        """Stop listening, and wait for the thread."""
        self._closed.set()
        self._listener.end(2 * self._heartbeat_s)

    def after_fork(self) -> None:
        """Reset the state in a child: it has no connection yet, and a thread of the parent may hold the lock."""
        self._lock = threading.Lock()
        self._heard_s = _NEVER

    def _set_heard(self, heard_s: float) -> None:
        with self._lock:
            self._heard_s = heard_s

    def _share(self, denials: Iterable[Denial]) -> None:
        """Write *denials* and wait until every process has them. Never raises."""
        try:
            with self._backoff.attempt():
                message_id, listeners = self._store.write(denials)
                self._await_acknowledgements(message_id, listeners)
        except RedisUnavailable:
            log.warning("A logout is known to this process only until Redis is back")

    def _catch_up_on(self, claims: Claims) -> None:
        """While not live, read the denials of one session from Redis; they include which logins are exempt."""
        self._listener.ensure()
        if not self.is_live:
            with contextlib.suppress(RedisUnavailable), self._backoff.attempt():
                self._memory.deny(self._store.read_for(claims))

    def _await_acknowledgements(self, message_id: str, listeners: int) -> None:
        until_s = time.monotonic() + self._ack_s
        while self._store.acknowledged(message_id) < listeners:
            if time.monotonic() > until_s or self._closed.wait(0.002):
                log.warning("Not every process acknowledged a logout within %s s", self._ack_s)
                return

    def _keep_listening(self) -> None:
        while not self._closed.is_set():
            try:
                with self._backoff.attempt(in_background=True), self._store.subscribe() as subscription:
                    self._listen(subscription)
            except RedisUnavailable:
                pass
            except Exception:
                # The thread must survive a defect, or this process would never be live again.
                log.exception("The deny-list's listener failed")
            self._set_heard(_NEVER)
            self._closed.wait(self._heartbeat_s / 2)

    def _listen(self, subscription: PubSub) -> None:
        """Receive messages until the connection is lost or the list is closed."""
        answered_s, recoveries = time.monotonic(), self._backoff.recoveries
        while not self._closed.is_set():
            message = subscription.get_message(timeout=self._heartbeat_s / 4)
            if self._backoff.recoveries != recoveries:
                recoveries = self._backoff.recoveries
                self._catch_up()
            if message is not None:
                answered_s = time.monotonic()
                self._receive(message)
            elif time.monotonic() - answered_s > 2 * self._heartbeat_s:
                raise TimeoutError("Redis is silent")
            elif time.monotonic() - answered_s > self._heartbeat_s / 2:
                subscription.ping()

    def _receive(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe":
            self._catch_up()
        if message["type"] == "message":
            message_id, denials = read_message(message["data"])
            self._memory.deny(denials)
            if message_id:
                self._store.acknowledge(message_id)
        self._set_heard(time.monotonic())

    def _catch_up(self) -> None:
        """Fetch the denials made before this subscription, and add those that Redis does not have."""
        # An attempt of its own: the outer one ends only with the connection, and requests should use Redis before that.
        with self._backoff.attempt(in_background=True):
            stored = self._store.read_all()
            self._memory.deny(stored)
            known = set(stored)
            missing = [denial for denial in self._memory.current() if denial not in known]
            if missing:
                self._store.write(missing)
