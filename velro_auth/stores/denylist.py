"""The deny-list, shared by all processes through Redis or Valkey.

Asking Redis about every token would make the common case, a token seen before, nine times as dear (measured on
one machine, over a unix socket: 45 µs for the round trip beside 6 µs for everything else; a network adds its
own), and would hang every request on Redis. So every process keeps the whole list in memory and is told of
changes::

    logout → 1. memory    2. merge, SET with expiry, index, PUBLISH → every process's listener: memory, INCR ack
                          3. wait until all listeners have acknowledged (at most ack_s), then answer 200

The next request after the 200 finds the denial in every process. A process whose listener is not sure of its
connection (silent for two heartbeats, or only starting) asks Redis with each token until it is.

Redis down: every process knows of its own logouts only and no request fails. After a failure the listener goes on
trying, twice a second, and of the requests one now and then; the others do not wait. Redis back, even empty: each
listener first fetches the list, then adds what it has itself, so logouts made meanwhile reach everybody. A
connection that dies without a word is noticed after two heartbeats; what another process denied in those seconds
is learnt as soon as the connection is back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

from redis.client import PubSub

from velro_auth.auth.denylist import Denial, MemoryDenyList
from velro_auth.auth.tokens import Claims
from velro_auth.background import Background, after_fork
from velro_auth.stores.denylist_codec import DenialsInRedis, read_news
from velro_auth.stores.guard import RedisGone, RedisGuard

log = logging.getLogger(__name__)


class RedisDenyList:
    """A deny-list that all processes share. The listening thread starts with the first token looked at.

    Args:
        store: The list in Redis.
        memory: The list of this process.
        guard: Shared with others who use the same Redis.
        ack_s: How long a logout waits until every process knows of it, in seconds.
        heartbeat_s: How often a quiet connection is tried. After two without an answer it counts as lost.
        clock: A clock that never jumps.
    """

    def __init__(
        self,
        *,
        store: DenialsInRedis,
        memory: MemoryDenyList | None = None,
        guard: RedisGuard | None = None,
        ack_s: float = 0.25,
        heartbeat_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._memory = memory or MemoryDenyList()
        self._guard = guard or RedisGuard()
        self._ack_s = ack_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._closed = threading.Event()
        self._listener = Background(self._keep_listening, name="deny-list")
        self._lock = threading.Lock()
        self._heard_s = float("-inf")
        after_fork(self)

    @property
    def is_live(self) -> bool:
        """Whether this process is told of every logout at once."""
        with self._lock:
            return self._heard_lately()

    @property
    def is_listening(self) -> bool:
        """Whether the thread that follows the news runs in this process."""
        return self._listener.is_running

    @property
    def longest_s(self) -> float:
        """The longest lifetime of an access token that this process saw, in seconds."""
        return self._memory.longest_s

    def deny(self, denials: Iterable[Denial]) -> None:
        """Refuse these tokens from now on, in every process. Never raises: memory has them in any case."""
        denials = list(denials)
        self._memory.deny(denials)
        self._share(denials)

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended. Asks Redis only while not live."""
        self._catch_up_on(claims)
        return self._memory.denies(claims)

    def mark(self) -> int:
        """Return a mark for :meth:`admits`."""
        return self._memory.mark()

    def admits(self, claims: Claims, mark: int) -> bool:
        """Take a session that Supabase began after *mark*; say whether it may be handed out.

        When that exempts it from a denial, all processes are told first: its next request may reach any of them.
        """
        self._catch_up_on(claims)
        changed = self._memory.exempt(claims, mark)
        if changed is not None:
            self._share([changed])
        return not self._memory.denies(claims)

    def start(self) -> None:
        """Start listening, without waiting for anything. Call it in a worker, after the fork."""
        self._listener.ensure()

    def close(self) -> None:
        """Stop listening, and wait for the thread."""
        self._closed.set()
        self._listener.end(2 * self._heartbeat_s)

    def after_fork(self) -> None:
        """Start anew in a child: the parent's connection is not ours, and a thread of it may have held the lock."""
        self._lock = threading.Lock()
        self._heard_s = float("-inf")

    def _is_told(self) -> bool:
        self._listener.ensure()
        with self._lock:
            return self._heard_lately()

    def _heard_lately(self) -> bool:
        return self._clock() - self._heard_s < 2 * self._heartbeat_s

    def _hears(self, heard_s: float) -> None:
        with self._lock:
            self._heard_s = heard_s

    def _share(self, denials: Iterable[Denial]) -> None:
        """Write *denials* and wait until every process knows of them. Never raises."""
        try:
            with self._guard.attempt():
                news_id, listeners = self._store.write(denials)
                self._await_acknowledgements(news_id, listeners)
        except RedisGone:
            log.warning("A logout is known to this process only until Redis is back")

    def _catch_up_on(self, claims: Claims) -> None:
        """Learn what Redis knows of one session, where this process is not told: also which logins are exempt."""
        if self._is_told():
            return
        with contextlib.suppress(RedisGone), self._guard.attempt():
            self._memory.deny(self._store.read_for(claims))

    def _await_acknowledgements(self, news_id: str, listeners: int) -> None:
        until_s = self._clock() + self._ack_s
        while self._store.acknowledged(news_id) < listeners:
            if self._clock() > until_s or self._closed.wait(0.002):
                log.warning("Not every process acknowledged a logout within %s s", self._ack_s)
                return

    def _keep_listening(self) -> None:
        while not self._closed.is_set():
            try:
                with self._guard.attempt(in_background=True), self._store.subscribe() as news:
                    self._listen(news)
            except RedisGone:
                pass
            except Exception:
                # The thread must outlive a defect, or this process would never be live again.
                log.exception("The deny-list's listener failed")
            self._hears(float("-inf"))
            self._closed.wait(self._heartbeat_s / 2)

    def _listen(self, news: PubSub) -> None:
        """Follow the news until the connection is lost or the list is closed."""
        answered_s = self._clock()
        while not self._closed.is_set():
            message = news.get_message(timeout=self._heartbeat_s / 4)
            if message is not None:
                answered_s = self._clock()
                self._take(message)
            elif self._clock() - answered_s > 2 * self._heartbeat_s:
                raise TimeoutError("Redis is silent")
            elif self._clock() - answered_s > self._heartbeat_s / 2:
                news.ping()

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe":
            self._catch_up()
        if message["type"] == "message":
            news_id, denials = read_news(message["data"])
            self._memory.deny(denials)
            if news_id:
                self._store.acknowledge(news_id)
        self._hears(self._clock())

    def _catch_up(self) -> None:
        """Fetch what was denied while nobody listened here, and add what Redis does not know."""
        # An attempt of its own: the one around the listening ends with the connection, and requests should use a
        # Redis that is back before that.
        with self._guard.attempt(in_background=True):
            stored = self._store.read_all()
            self._memory.deny(stored)
            known = set(stored)
            missing = [denial for denial in self._memory.current() if denial not in known]
            if missing:
                self._store.write(missing)
