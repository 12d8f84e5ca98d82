"""The format of denials in Redis: one key each that expires, an index of all, and a channel for changes.

Each command is about one key, so the same ones work in a cluster. A denial is written before it is indexed, and indexed
before it is published. A process that ends in between leaves a denial that others do not hear of: that process has not
answered the logout, and a process that asks about the token finds the denial.

The names have no version: processes of earlier releases read and write the same ones during an update.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

from redis import Redis, WatchError
from redis.client import PubSub
from redis.cluster import RedisCluster

from velro_auth.auth.denylist import Cutoff, Denial, subjects_of
from velro_auth.auth.tokens import Claims
from velro_auth.guards.keys import REDIS_PREFIX
from velro_auth.stores.client import STORE_ERRORS
from velro_auth.stores.connections import Script, is_cluster

log = logging.getLogger(__name__)

#: Writes a denial if it is still what was read (empty: there is none), and returns what there is then. A value of
#: another type is replaced.
_SWAP: Final = """
if redis.call('TYPE', KEYS[1]).ok ~= 'string' then redis.call('DEL', KEYS[1]) end
local found = redis.call('GET', KEYS[1]) or ''
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
"""

#: Keys per MGET: an answer of some 100 KiB.
_BATCH: Final = 500

#: How often a write is tried while others change the same denials. Of parallel writers one succeeds each time.
_TRIES: Final = 200

#: Counters of acknowledgements expire after this time.
_ACK_EXPIRES_MS: Final = 5000


class DenialsInRedis:
    """Reads and writes denials.

    Every method may raise ``redis.RedisError``; the caller handles it. An index of another type (another program
    overwrote it) is replaced: every process adds its own denials when it fetches the list next.

    Args:
        client: Has short timeouts: they are the longest time for which Redis can delay a request.
        prefix: The beginning of all keys, so that several projects can share one Redis.
        earlier_prefix: Another prefix whose denials are read too, and never written; empty for none.
        now: The wall clock.
    """

    def __init__(
        self,
        *,
        client: Redis,
        prefix: str = REDIS_PREFIX,
        earlier_prefix: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._swap = Script(client, _SWAP)
        self._is_cluster = is_cluster(client)
        self._now = now
        self._key = f"{prefix}:denied:"
        self._index = f"{prefix}:denials"
        self._earlier_key = f"{earlier_prefix}:denied:" if earlier_prefix else ""
        self._earlier_index = f"{earlier_prefix}:denials"
        self.channel = f"{prefix}:denials:news"

    def write(self, denials: Iterable[Denial]) -> tuple[str, int]:
        """Merge *denials* with those stored, and publish the result.

        Returns:
            The id of the message, and the number of listeners.
        """
        current: dict[str, Denial] = {}
        for denial in denials:
            if denial.until_s > self._now():
                current[denial.subject] = denial.merged(current.get(denial.subject, denial))
        self._repair_index()
        merged = [self._merge(denial) for denial in current.values()]
        message_id, now_s = secrets.token_hex(8), self._now()
        if merged:
            self._client.zadd(self._index, {denial.subject: denial.until_s for denial in merged})
        self._client.zremrangebyscore(self._index, "-inf", now_s)
        message = json.dumps({"id": message_id, "denials": list(map(_fields_of, merged))})
        heard: Any = self._client.publish(self.channel, message)
        return message_id, max(heard, self._listeners())

    def _merge(self, denial: Denial) -> Denial:
        """Merge *denial* with the stored one, and write the result.

        If another process changes it meanwhile, it is read and merged again.
        """
        key, stored = self._key + denial.subject, b""
        for _ in range(_TRIES):
            [merged] = [denial.merged(one) for one in _entry(stored) if one.subject == denial.subject] or [denial]
            written = json.dumps(_fields_of(merged)).encode()
            expires_ms = max(1, int((merged.until_s - self._now()) * 1000) + 1)
            found = self._swap([key], [stored, written, expires_ms])
            if found == written:
                return merged
            stored = found
        raise WatchError("the deny-list was changed by others again and again")

    def _listeners(self) -> int:
        """Return how many processes listen at all nodes of a cluster: PUBLISH counts those at one node. Otherwise 0."""
        if not self._is_cluster:
            return 0
        with contextlib.suppress(*STORE_ERRORS):
            counts = self._client.pubsub_numsub(self.channel, target_nodes=RedisCluster.ALL_NODES)
            return sum(int(count) for _, count in counts)
        return 0

    def read_all(self) -> list[Denial]:
        """Return every denial that has not expired."""
        self._repair_index()
        keys = self._keys(self._index, self._key)
        if self._earlier_key and _text(self._client.type(self._earlier_index)) == "zset":
            keys += self._keys(self._earlier_index, self._earlier_key)
        return self._read(keys)

    def read_for(self, claims: Claims) -> list[Denial]:
        """Return the denials that may cover these claims."""
        prefixes = filter(None, (self._key, self._earlier_key))
        return self._read([prefix + subject for prefix in prefixes for subject in subjects_of(claims)])

    def acknowledge(self, message_id: str) -> None:
        """Report that this process has received a message."""
        # First, so that it expires even if this process ends before the next line.
        self._client.set(self._ack(message_id), 0, nx=True, px=_ACK_EXPIRES_MS)
        self._client.incr(self._ack(message_id))

    def acknowledged(self, message_id: str) -> int:
        """Return how many processes have received a message."""
        count: Any = self._client.get(self._ack(message_id))
        return int(count or 0)

    def subscribe(self) -> PubSub:
        """Return a new subscription to the changes."""
        subscription: PubSub = self._client.pubsub()  # type: ignore[no-untyped-call]
        subscription.subscribe(self.channel)
        return subscription

    def _repair_index(self) -> None:
        if _text(self._client.type(self._index)) not in {"zset", "none"}:
            log.warning("The index of the deny-list was something else and is replaced")
            self._client.delete(self._index)

    def _keys(self, index: str, prefix: str) -> list[str]:
        subjects: Any = self._client.zrangebyscore(index, self._now(), "+inf")
        return [prefix + _text(subject) for subject in subjects]

    def _read(self, keys: Sequence[str]) -> list[Denial]:
        found: list[Denial] = []
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            values: Any = (
                cast("RedisCluster", self._client).mget_nonatomic(batch)
                if self._is_cluster
                else self._client.mget(batch)
            )
            for value in values:
                if value is not None:
                    found += _entry(value)
        return found

    def _ack(self, message_id: str) -> str:
        return f"{self.channel}:{message_id}"


def read_message(data: Any) -> tuple[str, list[Denial]]:
    """Return the id and the denials of a message; nothing if it is not one of ours."""
    try:
        message = json.loads(_text(data))
        return str(message["id"]), [_denial(fields) for fields in message["denials"]]
    except (ValueError, TypeError, KeyError):
        log.warning("A message on the deny-list's channel could not be read")
        return "", []


def _entry(value: Any) -> list[Denial]:
    if not value:
        return []
    try:
        return [_denial(json.loads(_text(value)))]
    except (ValueError, TypeError, KeyError):
        log.warning("An entry of the deny-list could not be read")
        return []


def _fields_of(denial: Denial) -> dict[str, Any]:
    """Return *denial* as JSON values. Processes of other releases read them, so the names must not change."""
    cuts = [asdict(cutoff) for cutoff in denial.cutoffs]
    return {"subject": denial.subject, "until_s": denial.until_s, "cuts": cuts}


def _denial(fields: Mapping[str, Any]) -> Denial:
    cutoffs = [_cutoff(one) for one in fields["cuts"]] if "cuts" in fields else _cutoffs_of_earlier_releases(fields)
    return Denial(subject=str(fields["subject"]), until_s=float(fields["until_s"]), cutoffs=tuple(cutoffs))


def _cutoff(fields: Mapping[str, Any]) -> Cutoff:
    exempt, replaces = (tuple(map(str, fields[name])) for name in ("exempt", "replaces"))
    return Cutoff(name=str(fields["name"]), at_s=int(fields["at_s"]), exempt=exempt, replaces=replaces)


def _cutoffs_of_earlier_releases(fields: Mapping[str, Any]) -> list[Cutoff]:
    """Read an entry of a release with one cutoff per user; such entries expire an hour after an update."""
    before_s = int(fields["issued_before_s"])
    if str(fields["subject"]).startswith("session:"):
        return []
    spared = str(fields["spared_session"])
    return [Cutoff(name=f"before {before_s} {spared}", at_s=before_s - 1, exempt=(spared,) if spared else ())]


def _text(value: Any) -> str:
    """Return a reply as text, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else str(value)
