"""Checks of Redis: reachable, fast enough, enough memory, and usable by several processes."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import redis

from velro_auth.auth.denylist import Denial
from velro_auth.auth.refresh import Outcome
from velro_auth.config.validation import SettingError
from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Limits
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.stores.advice import advice_for
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import STORE_ERRORS, TIMEOUT_S, RedisUnavailable, StoreBackoff, connect
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.stores.refresh import RedisSingleFlight

#: Keys of a trial expire after this time if they cannot be deleted.
_TRIAL_S: Final = 30.0


class _ErrorRecorder(StoreBackoff):
    """Records the errors that the store's users would otherwise only log."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def failed(self, error: Exception) -> None:
        """Record the first error."""
        self.error = self.error or error


def _counts(client: redis.Redis, prefix: str, recorder: _ErrorRecorder) -> None:
    """Count a failed and a successful login."""
    limits = Limits()
    attempts = RedisAttempts(
        client=client, limits=limits, fallback=MemoryAttempts(limits=limits), backoff=recorder, prefix=prefix
    )
    for succeeded in (False, True):
        ticket = attempts.begin(Caller(account="doctor", network="doctor"))
        if isinstance(ticket, Reservation):
            attempts.settle(ticket, succeeded=succeeded)


def _ends_sessions(client: redis.Redis, prefix: str, recorder: _ErrorRecorder) -> None:
    """End a session, receive the message and acknowledge it, as every process does."""
    store = DenialsInRedis(client=client, prefix=prefix)
    with recorder.attempt(), store.subscribe() as news:
        news.get_message(timeout=1.0)
        subjects = [f"session:{prefix}", f"user:{prefix}"]
        news_id, _ = store.write([Denial(subject=subject, until_s=time.time() + _TRIAL_S) for subject in subjects])
        store.read_all()
        store.acknowledge(news_id)
        store.acknowledged(news_id)


def _hands_over_refresh(client: redis.Redis, prefix: str, recorder: _ErrorRecorder) -> None:
    """Hand the outcome of one refresh from one process to another."""
    for _ in range(2):
        relay = RedisSingleFlight[dict[str, Any]](
            client=client,
            secret=prefix.encode(),
            dump=dict,
            load=dict,
            backoff=recorder,
            prefix=prefix,
            same_answer_s=_TRIAL_S,
        )
        relay.share("doctor", lambda: Outcome({"trial": True}))
        if recorder.error is not None:
            # A second refresh would wait for the lock that the first could not release.
            return


_TRIALS: Final[Mapping[str, Callable[[redis.Redis, str, _ErrorRecorder], None]]] = {
    "failed logins": _counts,
    "ended sessions": _ends_sessions,
    "refreshes": _hands_over_refresh,
}


def sharing(client: redis.Redis) -> Finding:
    """Return whether processes can share their state through this Redis, by running the service's scripts and commands.

    ``PING`` is not enough: a Redis Cluster, a user without rights and a read-only replica all answer it.
    """
    # A prefix below the service's keys, so that an ACL for those is enough.
    prefix = f"velro:doctor:{secrets.token_hex(8)}"
    errors: dict[str, Exception] = {}
    with _deleted_afterwards(client, prefix):
        for what, trial in _TRIALS.items():
            recorder = _ErrorRecorder()
            with contextlib.suppress(RedisUnavailable):
                trial(client, prefix, recorder)
            if recorder.error is not None:
                errors[what] = recorder.error
    if not errors:
        return Finding("pass", f"shared: {', '.join(_TRIALS)}")
    error = next(iter(errors.values()))
    advice = advice_for(error)
    said = f"each process keeps to itself: {', '.join(errors)}"
    if not advice:
        return Finding("fail", f"{said} ({type(error).__name__})")
    fault, _, fix = advice.partition(": ")
    return Finding("fail", f"{said}; {fault}", f"{fix[:1].upper()}{fix[1:]}.")


@contextlib.contextmanager
def _deleted_afterwards(client: redis.Redis, prefix: str) -> Iterator[None]:
    """Delete the keys of a trial; where that is refused, they expire."""
    try:
        yield
    finally:
        with contextlib.suppress(*STORE_ERRORS):
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)


#: Longer than the service waits, to measure a slow Redis.
_TIMEOUT_S: Final = 2.0
_SAMPLES: Final = 9
_FAR_MS: Final = 20.0
_NEARLY_FULL: Final = 0.9


@contextlib.contextmanager
def _store(context: DiagnosticContext) -> Iterator[redis.Redis]:
    with contextlib.closing(connect(context.settings.redis_url, timeout_s=_TIMEOUT_S)) as client:
        yield client


def _shared(context: DiagnosticContext) -> Finding:
    settings = context.settings
    processes = settings.web_concurrency * max(1, settings.auth_replicas)
    if settings.redis_url:
        return Finding("pass", f"{processes} processes, and REDIS_URL is set; redis.sharing tries it out")
    if processes == 1:
        return Finding("pass", "one process: nothing has to be shared")
    return Finding("warn", f"{processes} processes, and no REDIS_URL")


def _reachable(context: DiagnosticContext) -> Finding:
    if wrong := _settings_error(context):
        return Finding("fail", str(wrong))
    if not context.settings.redis_url:
        raise NotApplicable("REDIS_URL is not set")
    try:
        with _store(context) as client:
            client.ping()
    except STORE_ERRORS as error:
        return Finding("fail", f"no answer ({type(error).__name__})")
    return Finding("pass", "it answers")


def _settings_error(context: DiagnosticContext) -> SettingError | None:
    return next((one for one in context.settings.errors if one.variable == "REDIS_URL"), None)


def _latency(context: DiagnosticContext) -> Finding:
    times_ms = []
    with _store(context) as client:
        client.ping()
        for _ in range(_SAMPLES):
            started_s = time.perf_counter()
            client.ping()
            times_ms.append((time.perf_counter() - started_s) * 1000)
    median_ms = statistics.median(times_ms)
    said = f"median {median_ms:.2f} ms; logins give up after {TIMEOUT_S * 1000:.0f} ms"
    if median_ms > TIMEOUT_S * 1000:
        return Finding("fail", said)
    return Finding("warn" if median_ms > _FAR_MS else "pass", said)


def _sharing(context: DiagnosticContext) -> Finding:
    with _store(context) as client:
        return sharing(client)


def _memory(context: DiagnosticContext) -> Finding:
    with _store(context) as client:
        about = client.info("memory")
        evicted = int(client.info("stats").get("evicted_keys", 0))
    most, used = int(about.get("maxmemory", 0)), int(about.get("used_memory", 0))
    policy = str(about.get("maxmemory_policy", "unknown"))
    said = f"policy {policy}, {used / 1024**2:.1f} MiB used of {f'{most / 1024**2:.1f} MiB' if most else 'no limit'}"
    if evicted:
        return Finding("fail", f"{said}; {evicted} keys were evicted already")
    if most and used > _NEARLY_FULL * most:
        return Finding("fail", f"{said}: nearly full")
    return Finding("warn" if most and policy != "noeviction" else "pass", said)


CHECKS: Final[Mapping[str, Run]] = {
    "redis.shared": _shared,
    "redis.reachable": _reachable,
    "redis.sharing": _sharing,
    "redis.latency": _latency,
    "redis.memory": _memory,
}
