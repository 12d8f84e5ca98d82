"""The names of the throttle's counters in Redis, and which of them one call may have together.

In a cluster the keys of one call must lie in one slot. A cluster hashes the part of a name in braces: the account for
its own counters, the widest network for all networks around a caller, and a number for each part of the service's
counter. A single server ignores the braces, and gets all keys in one call.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import NETWORKS, Limit, Record

#: In a cluster the service's counter is divided into this many parts, so that its keys lie on several primaries.
MAX_SHARDS: Final = 10

#: Tries that one part must hold, also after failures. Chance would use up smaller parts long before the whole counter.
SHARD_HOLDS: Final = 15

#: How many parts are asked before a try is refused for the service's limit.
SHARDS_ASKED: Final = 3

#: What an account's slot holds, and a network's.
OF_ACCOUNT: Final = ("known", "pair", "strangers", "account")
OF_NETWORK: Final = (*NETWORKS, "known_network")


class Slot(NamedTuple):
    """Keys of one call: in a cluster they have one hash tag, and so lie in one slot.

    Attributes:
        keys: What the key is, for the script → its name.
        shard: Which part of the service's counter is among them.
    """

    keys: Mapping[str, str]
    shard: int = 0

    def counted(self, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return those of *scopes* that have their key here."""
        return tuple(scope for scope in scopes if scope in self.keys)


class Answer(NamedTuple):
    """The answer of one call that counted a try, or looked whether it may be counted."""

    is_allowed: bool
    is_known: bool
    now: float
    failures: int
    waits: Mapping[str, float]
    records: Mapping[str, Record]

    @classmethod
    def of(cls, raw: Sequence[Any]) -> Answer:
        """Read what the script returned."""
        allowed, known, now, failures, *rest = raw
        waits: dict[str, float] = {}
        records: dict[str, Record] = {}
        for start in range(0, len(rest), 5):
            name, wait_s, full_until, streak, last = rest[start : start + 5]
            scope = name.decode()
            waits[scope] = float(wait_s)
            records[scope] = Record(float(full_until), int(streak), float(last))
        return cls(bool(allowed), bool(known), float(now), int(failures), waits, records)


class CounterKeys:
    """The names of the counters of one project.

    Args:
        prefix: The beginning of all names.
        is_cluster: Whether the keys of one call must lie in one slot.
        service: The limit of the service.

    Attributes:
        shards: In how many parts the service's counter is divided.
        share: The limit of one part: all together never allow more than the whole.
    """

    def __init__(self, prefix: str, *, is_cluster: bool, service: Limit) -> None:
        self.prefix: Final = prefix
        self._is_cluster = is_cluster
        fitting = (service.burst_after_failure or service.burst) // SHARD_HOLDS
        self.shards: Final = max(1, min(MAX_SHARDS, fitting)) if is_cluster else 1
        self.share: Final = dataclasses.replace(
            service,
            burst=service.burst // self.shards,
            burst_after_failure=service.burst_after_failure // self.shards,
            refill_s=service.refill_s * self.shards,
        )

    def of_try(self, caller: Caller, scopes: Sequence[str]) -> Iterator[Sequence[Slot]]:
        """Return the slots of a new try, in the order of the calls. Of the service's, several may be asked."""
        shards = random.sample(range(self.shards), min(SHARDS_ASKED, self.shards))
        wanted = ("known", *scopes)
        for slot in self.slots(caller, wanted, shard=shards[0]):
            if "service" in slot.keys and self.shards > 1:
                yield [
                    slot,
                    *(other for shard in shards[1:] for other in self.slots(caller, ("service",), shard=shard)),
                ]
            else:
                yield [slot]

    def slots(self, caller: Caller, wanted: Sequence[str], *, shard: int = 0) -> list[Slot]:
        """Return the keys that are *wanted*, those of one call together."""
        widest = caller.wider[-1] if caller.wider else caller.network
        slots = [
            Slot({what: self.key(caller.account, caller.key(what)) for what in OF_ACCOUNT if what in wanted}),
            Slot({what: self.key(widest, caller.key(what)) for what in OF_NETWORK if what in wanted}),
            Slot({what: self.key(f"service{shard}", what) for what in ("service",) if what in wanted}, shard),
        ]
        if self._is_cluster:
            return [slot for slot in slots if slot.keys]
        return [Slot({what: key for slot in slots for what, key in slot.keys.items()})]

    def key(self, tag: str, name: str) -> str:
        """Return the name of a key in Redis. A cluster hashes what is in braces."""
        return f"{self.prefix}{{{tag}}}:{name}"
