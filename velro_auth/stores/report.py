"""What the guards would have refused (``AUTH_GUARDS=report``), counted in Redis for all processes together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

import redis

from velro_auth.guards.enforcement import Enforcement
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff

#: How long the report is kept after its last entry, in seconds.
KEPT_S: Final = 30 * 86400

_SINCE: Final = "since"
_REFUSED: Final = "refused"
_GOOD: Final = "good"


class Row(NamedTuple):
    """One limit: how many requests it would have refused, and how many of those turned out to be good."""

    refused: int = 0
    good: int = 0


class RedisReport:
    """Counts in one hash. While Redis is unavailable, nothing is counted there.

    Args:
        client: A client from ``connect``.
        backoff: Decides when Redis is asked again after it failed.
        prefix: The beginning of every key; it names the project.
        wall_clock: Seconds since 1970.
    """

    def __init__(
        self,
        client: redis.Redis,
        backoff: StoreBackoff,
        *,
        prefix: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._backoff = client, backoff
        self._key = f"{prefix}:report"
        self._wall_clock = wall_clock

    def beside(self, enforcement: Enforcement) -> Enforcement:
        """Return *enforcement* that counts here too."""

        def on_reported(limit: str) -> None:
            enforcement.on_reported(limit)
            self._count(limit, _REFUSED)

        def on_good(limit: str) -> None:
            enforcement.on_good(limit)
            self._count(limit, _GOOD)

        return dataclasses.replace(enforcement, on_reported=on_reported, on_good=on_good)

    def read(self) -> tuple[float | None, Mapping[str, Row]]:
        """Return since when the report counts (None: it is empty), and limit → its row.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        counts = {field.decode(): value for field, value in raw.items()}
        since = counts.pop(_SINCE, None)
        rows: dict[str, Row] = {}
        for field, value in counts.items():
            limit, _, what = field.partition(":")
            rows[limit] = rows.get(limit, Row())._replace(**{what: int(value)})
        return None if since is None else float(since), rows

    def forget(self) -> None:
        """Begin a new report.

        Raises:
            redis.RedisError: Redis cannot be asked.
        """
        self._client.delete(self._key)

    def _count(self, limit: str, what: str) -> None:
        try:
            with self._backoff.attempt(failures=STORE_ERRORS), self._client.pipeline(transaction=False) as pipeline:
                pipeline.hsetnx(self._key, _SINCE, repr(self._wall_clock()))
                pipeline.hincrby(self._key, f"{limit}:{what}", 1)
                pipeline.expire(self._key, KEPT_S)
                pipeline.execute()
        except RedisUnavailable:
            return
