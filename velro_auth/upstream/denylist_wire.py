"""How denials stand in Redis: one key each that expires by itself, an index of all, a channel for news."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from redis import Redis
from redis.client import PubSub

from velro_auth.auth.denylist import Denial
from velro_auth.auth.tokens import Claims

log = logging.getLogger(__name__)

#: Keys per MGET: an answer of some 100 KiB.
_BATCH: Final = 500

#: Counters of acknowledgements are left to expire.
_ACK_EXPIRES_MS: Final = 5000


class DenialsInRedis:
    """Reads and writes denials.

    Every method may raise ``redis.RedisError``; the caller guards them. An index that is no index (somebody wrote
    over it) is replaced: every process adds what it knows when it fetches the list next.

    Args:
        client: Has short timeouts: they are the longest a request can be held up by Redis.
        prefix: Of all keys, so that several projects can share one Redis.
        earlier_prefix: Another prefix whose denials are read too, and never written; empty for none.
        now: The wall clock.
    """

    def __init__(
        self,
        *,
        client: Redis,
        prefix: str = "velro",
        earlier_prefix: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._now = now
        self._key = f"{prefix}:denied:"
        self._index = f"{prefix}:denials"
        self._earlier_key = f"{earlier_prefix}:denied:" if earlier_prefix else ""
        self._earlier_index = f"{earlier_prefix}:denials"
        self.channel = f"{prefix}:denials:news"

    def write(self, denials: Iterable[Denial]) -> tuple[str, int]:
        """Store *denials* and tell all listeners; return the news' id and how many listeners there are."""
        news_id, now_s = secrets.token_hex(8), self._now()
        lasting = [denial for denial in denials if denial.until_s > now_s]
        news = json.dumps({"id": news_id, "denials": [asdict(denial) for denial in lasting]})
        self._heal_index()
        with self._client.pipeline(transaction=True) as commands:
            for denial in lasting:
                expires_ms = int((denial.until_s - now_s) * 1000) + 1
                commands.set(self._key + denial.subject, json.dumps(asdict(denial)), px=expires_ms)
                commands.zadd(self._index, {denial.subject: denial.until_s})
            commands.zremrangebyscore(self._index, "-inf", now_s)
            commands.publish(self.channel, news)
            return news_id, commands.execute()[-1]

    def read_all(self) -> list[Denial]:
        """Return every denial that still matters."""
        self._heal_index()
        keys = self._keys(self._index, self._key)
        if self._earlier_key and _text(self._client.type(self._earlier_index)) == "zset":
            keys += self._keys(self._earlier_index, self._earlier_key)
        return [denial for start in range(0, len(keys), _BATCH) for denial in self._read(keys[start : start + _BATCH])]

    def read_for(self, claims: Claims) -> list[Denial]:
        """Return the denials that may cover these claims."""
        prefixes = filter(None, (self._key, self._earlier_key))
        subjects = (f"session:{claims.session_id}", f"user:{claims.sub}")
        return self._read([prefix + subject for prefix in prefixes for subject in subjects])

    def acknowledge(self, news_id: str) -> None:
        """Say that this process knows of these news."""
        with self._client.pipeline(transaction=True) as commands:
            commands.incr(self._ack(news_id))
            commands.pexpire(self._ack(news_id), _ACK_EXPIRES_MS)
            commands.execute()

    def acknowledged(self, news_id: str) -> int:
        """Return how many processes know of these news."""
        count: Any = self._client.get(self._ack(news_id))
        return int(count or 0)

    def subscribe(self) -> PubSub:
        """Return a new subscription to the news."""
        subscription: PubSub = self._client.pubsub()  # type: ignore[no-untyped-call]
        subscription.subscribe(self.channel)
        return subscription

    def _heal_index(self) -> None:
        kind: Any = self._client.type(self._index)
        if _text(kind) not in {"zset", "none"}:
            log.warning("The index of the deny-list was something else and is replaced")
            self._client.delete(self._index)

    def _keys(self, index: str, prefix: str) -> list[str]:
        subjects: Any = self._client.zrangebyscore(index, self._now(), "+inf")
        return [prefix + _text(subject) for subject in subjects]

    def _read(self, keys: Sequence[str]) -> list[Denial]:
        values: Any = self._client.mget(keys)
        return [denial for value in values if value is not None for denial in _denials(f"[{_text(value)}]")]

    def _ack(self, news_id: str) -> str:
        return f"{self.channel}:{news_id}"


def read_news(data: Any) -> tuple[str, list[Denial]]:
    """Return the id and the denials of a message; nothing when it is none of ours."""
    try:
        news = json.loads(_text(data))
        return str(news["id"]), [Denial(**fields) for fields in news["denials"]]
    except (ValueError, TypeError, KeyError):
        log.warning("A message on the deny-list's channel could not be read")
        return "", []


def _denials(text: str) -> list[Denial]:
    try:
        return [Denial(**fields) for fields in json.loads(text)]
    except (ValueError, TypeError):
        log.warning("An entry of the deny-list could not be read")
        return []


def _text(value: Any) -> str:
    """Return a reply as text, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else str(value)
