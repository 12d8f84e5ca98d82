"""Tries out what processes share through Redis: the same scripts and commands that logins, logouts and refreshes use.

``PING`` alone says nothing: a Redis Cluster, a user without rights and a read-only replica all answer it, and each
process would go on counting alone.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import redis

from velro_auth.auth.denylist import Denial
from velro_auth.auth.refresh import Outcome
from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Limits
from velro_auth.health_checks import Finding
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import STORE_ERRORS, RedisUnavailable, StoreBackoff, advice_for
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.stores.refresh import RedisSingleFlight

#: Keys of a trial expire by then, should they not be deleted.
_TRIAL_S: Final = 30.0


class _Witness(StoreBackoff):
    """Remembers what went wrong, which those who use Redis otherwise keep to themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def failed(self, error: Exception) -> None:
        """Remember the first failure; the doctor tells of it, not the log."""
        self.error = self.error or error


def _counts(client: redis.Redis, prefix: str, witness: _Witness) -> None:
    """Count a failed and a good login."""
    limits = Limits()
    attempts = RedisAttempts(
        client=client, limits=limits, fallback=MemoryAttempts(limits=limits), backoff=witness, prefix=prefix
    )
    for succeeded in (False, True):
        ticket = attempts.begin(Caller(account="doctor", network="doctor"))
        if isinstance(ticket, Reservation):
            attempts.settle(ticket, succeeded=succeeded)


def _ends_sessions(client: redis.Redis, prefix: str, witness: _Witness) -> None:
    """End a session, hear of it and acknowledge it, as every process does."""
    store = DenialsInRedis(client=client, prefix=prefix)
    with witness.attempt(), store.subscribe() as news:
        news.get_message(timeout=1.0)
        subjects = [f"session:{prefix}", f"user:{prefix}"]
        news_id, _ = store.write([Denial(subject=subject, until_s=time.time() + _TRIAL_S) for subject in subjects])
        store.read_all()
        store.acknowledge(news_id)
        store.acknowledged(news_id)


def _hands_over(client: redis.Redis, prefix: str, witness: _Witness) -> None:
    """Hand the outcome of one refresh from one process to another."""
    for _ in range(2):
        relay = RedisSingleFlight[dict[str, Any]](
            client=client,
            secret=prefix.encode(),
            dump=dict,
            load=dict,
            backoff=witness,
            prefix=prefix,
            same_answer_s=_TRIAL_S,
        )
        relay.share("doctor", lambda: Outcome({"trial": True}))
        if witness.error is not None:
            # The second would wait for a lock that the first could not release.
            return


_TRIALS: Final[Mapping[str, Callable[[redis.Redis, str, _Witness], None]]] = {
    "failed logins": _counts,
    "ended sessions": _ends_sessions,
    "refreshes": _hands_over,
}


def sharing(client: redis.Redis) -> Finding:
    """Say whether processes can share through this Redis what they have to."""
    # Within the keys that the service uses, so that an ACL for those is enough.
    prefix = f"velro:doctor:{secrets.token_hex(8)}"
    troubles: dict[str, Exception] = {}
    with _swept(client, prefix):
        for what, trial in _TRIALS.items():
            witness = _Witness()
            with contextlib.suppress(RedisUnavailable):
                trial(client, prefix, witness)
            if witness.error is not None:
                troubles[what] = witness.error
    if not troubles:
        return Finding("pass", f"shared: {', '.join(_TRIALS)}")
    error = next(iter(troubles.values()))
    advice = advice_for(error)
    said = f"each process keeps to itself: {', '.join(troubles)}"
    if not advice:
        return Finding("fail", f"{said} ({type(error).__name__})")
    fault, _, mend = advice.partition(": ")
    return Finding("fail", f"{said}; {fault}", f"{mend[:1].upper()}{mend[1:]}.")


@contextlib.contextmanager
def _swept(client: redis.Redis, prefix: str) -> Iterator[None]:
    """Delete what a trial wrote. Where even that is refused, it expires."""
    try:
        yield
    finally:
        with contextlib.suppress(*STORE_ERRORS):
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)
