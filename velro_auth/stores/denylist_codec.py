"""How denials stand in Redis: one key each that expires by itself, an index of all, a channel for news."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from redis import Redis, WatchError
from redis.client import Pipeline, PubSub

from velro_auth.auth.denylist import Cutoff, Denial
from velro_auth.auth.tokens import Claims

log = logging.getLogger(__name__)

#: Keys per MGET: an answer of some 100 KiB.
_BATCH: Final = 500

#: How often a write is tried that others come in between with. Of those who write at once one succeeds each time.
_TRIES: Final = 200

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
        """Merge *denials* with those stored, and tell all listeners.

        Returns:
            The news' id, and how many listeners there are.

        Nothing is written when another process changed one of them meanwhile: then they are read and merged again.
        """
        lasting: dict[str, Denial] = {}
        for denial in denials:
            if denial.until_s > self._now():
                lasting[denial.subject] = denial.merged(lasting.get(denial.subject, denial))
        self._heal_index()
        for _ in range(_TRIES):
            with self._client.pipeline(transaction=True) as commands, contextlib.suppress(WatchError):
                return self._written(commands, lasting)
        raise WatchError("the deny-list was changed by others again and again")

    def _written(self, commands: Pipeline, lasting: Mapping[str, Denial]) -> tuple[str, int]:
        keys = [self._key + subject for subject in lasting]
        if keys:
            commands.watch(*keys)  # type: ignore[no-untyped-call]
        stored = {denial.subject: denial for denial in self._read(commands, keys)}
        merged = [
            denial.merged(stored[subject]) if subject in stored else denial for subject, denial in lasting.items()
        ]
        news_id, now_s = secrets.token_hex(8), self._now()
        commands.multi()
        for denial in merged:
            expires_ms = max(1, int((denial.until_s - now_s) * 1000) + 1)
            commands.set(self._key + denial.subject, json.dumps(asdict(denial)), px=expires_ms)
            commands.zadd(self._index, {denial.subject: denial.until_s})
        commands.zremrangebyscore(self._index, "-inf", now_s)
        commands.publish(self.channel, json.dumps({"id": news_id, "denials": [asdict(one) for one in merged]}))
        return news_id, commands.execute()[-1]

    def read_all(self) -> list[Denial]:
        """Return every denial that still matters."""
        self._heal_index()
        keys = self._keys(self._index, self._key)
        if self._earlier_key and _text(self._client.type(self._earlier_index)) == "zset":
            keys += self._keys(self._earlier_index, self._earlier_key)
        return self._read(self._client, keys)

    def read_for(self, claims: Claims) -> list[Denial]:
        """Return the denials that may cover these claims."""
        prefixes = filter(None, (self._key, self._earlier_key))
        subjects = (f"session:{claims.session_id}", f"user:{claims.sub}")
        return self._read(self._client, [prefix + subject for prefix in prefixes for subject in subjects])

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

    @staticmethod
    def _read(client: Redis, keys: Sequence[str]) -> list[Denial]:
        found: list[Denial] = []
        for start in range(0, len(keys), _BATCH):
            values: Any = client.mget(keys[start : start + _BATCH])
            found += [denial for value in values if value is not None for denial in _denials(f"[{_text(value)}]")]
        return found

    def _ack(self, news_id: str) -> str:
        return f"{self.channel}:{news_id}"


def read_news(data: Any) -> tuple[str, list[Denial]]:
    """Return the id and the denials of a message; nothing when it is none of ours."""
    try:
        news = json.loads(_text(data))
        return str(news["id"]), [_denial(fields) for fields in news["denials"]]
    except (ValueError, TypeError, KeyError):
        log.warning("A message on the deny-list's channel could not be read")
        return "", []


def _denials(text: str) -> list[Denial]:
    try:
        return [_denial(fields) for fields in json.loads(text)]
    except (ValueError, TypeError, KeyError):
        log.warning("An entry of the deny-list could not be read")
        return []


def _denial(fields: Mapping[str, Any]) -> Denial:
    cutoffs = [_cut(cut) for cut in fields["cuts"]] if "cuts" in fields else _cuts_of_earlier_releases(fields)
    return Denial(subject=str(fields["subject"]), until_s=float(fields["until_s"]), cutoffs=tuple(cutoffs))


def _cut(fields: Mapping[str, Any]) -> Cutoff:
    exempt, replaces = (tuple(map(str, fields[name])) for name in ("exempt", "replaces"))
    return Cutoff(name=str(fields["name"]), at_s=int(fields["at_s"]), exempt=exempt, replaces=replaces)


def _cuts_of_earlier_releases(fields: Mapping[str, Any]) -> list[Cutoff]:
    """Read an entry of a release that kept one cut per user; such entries last for an hour after an update."""
    before_s = int(fields["issued_before_s"])
    if str(fields["subject"]).startswith("session:"):
        return []
    spared = str(fields["spared_session"])
    return [Cutoff(name=f"before {before_s} {spared}", at_s=before_s - 1, exempt=(spared,) if spared else ())]


def _text(value: Any) -> str:
    """Return a reply as text, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else str(value)
