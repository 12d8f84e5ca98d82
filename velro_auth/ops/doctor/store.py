"""Checks of Redis: reachable, fast enough, enough memory, and usable by several processes."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import redis
from redis import exceptions as errors
from redis.cluster import RedisCluster

from velro_auth.auth.denylist import Denial
from velro_auth.auth.refresh import Outcome
from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.budgets import BudgetLimits, Claim, MemoryBudgets, Taken
from velro_auth.guards.enforcement import Enforcement
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Limits
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.stores.address import StoreAddress, parse_address
from velro_auth.stores.advice import advice_for
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import STORE_ERRORS, TIMEOUT_S, RedisUnavailable, StoreBackoff, connect
from velro_auth.stores.connections import is_cluster
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.stores.refresh import RedisSingleFlight
from velro_auth.stores.report import RedisReport
from velro_auth.stores.spent import RedisSpent

#: Of the trials.
_CALLER: Final = Caller(account="doctor", network="doctor", wider=("doctor", "doctor"))

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
    """Count a failed and a successful login, and look at and release the counters as an operator does."""
    attempts = _attempts(client, prefix, recorder)
    for succeeded in (False, True):
        ticket = attempts.begin(_CALLER)
        if isinstance(ticket, Reservation):
            attempts.settle(ticket, succeeded=succeeded)
    attempts.knows(_CALLER)
    attempts.begin(_CALLER)
    with recorder.attempt(failures=STORE_ERRORS):
        attempts.show(_CALLER.account)
        attempts.release(_CALLER.account)
    spent = RedisSpent(client=client, backoff=recorder, prefix=prefix)
    spent.spend("doctor", time.time() + _TRIAL_S)
    spent.forget("doctor")


def _attempts(client: redis.Redis, prefix: str, backoff: StoreBackoff) -> RedisAttempts:
    limits = Limits()
    return RedisAttempts(
        client=client, limits=limits, fallback=MemoryAttempts(limits=limits), backoff=backoff, prefix=prefix
    )


def _takes_budgets(client: redis.Redis, prefix: str, recorder: _ErrorRecorder) -> None:
    """Use a budget up, give it back, and look at it."""
    limits = BudgetLimits()
    budgets = RedisBudgets(
        client=client, limits=limits, fallback=MemoryBudgets(limits=limits), backoff=recorder, prefix=prefix
    )
    claims = [Claim("factor_own", "doctor"), Claim("mail_pair", "doctor"), Claim("mail_service")]
    for _ in range(3):
        taken = budgets.take(claims)
        if isinstance(taken, Taken):
            budgets.give_back(taken)
            budgets.take(claims[:1])
    with recorder.attempt(failures=STORE_ERRORS):
        budgets.show("doctor")


def _reports(client: redis.Redis, prefix: str, recorder: _ErrorRecorder) -> None:
    """Write and read the report of ``AUTH_GUARDS=report``."""
    report = RedisReport(client, recorder, prefix=prefix)
    report.beside(Enforcement(is_on=False)).on_reported("doctor")
    with recorder.attempt(failures=STORE_ERRORS):
        report.read()
        report.forget()


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
    "codes and mails": _takes_budgets,
    "ended sessions": _ends_sessions,
    "refreshes": _hands_over_refresh,
    "the report": _reports,
}


def sharing(client: redis.Redis) -> Finding:
    """Return whether processes can share their state through this Redis, by running the service's scripts and commands.

    ``PING`` is not enough: a cluster that is taken for one server, a user without rights and a read-only replica all
    answer it.
    """
    # A prefix below the service's keys, so that an ACL for those is enough.
    prefix = f"velro:doctor:{secrets.token_hex(8)}"
    found: dict[str, Exception] = {}
    with _deleted_afterwards(client, prefix):
        for what, trial in _TRIALS.items():
            recorder = _ErrorRecorder()
            with contextlib.suppress(RedisUnavailable):
                trial(client, prefix, recorder)
            if recorder.error is not None:
                found[what] = recorder.error
    if not found:
        return Finding("pass", f"shared: {', '.join(_TRIALS)}")
    error = next(iter(found.values()))
    advice = advice_for(error)
    said = f"each process keeps to itself: {', '.join(found)}"
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
    if wrong := [str(one) for one in context.settings.errors if one.variable == "REDIS_URL"]:
        return Finding("fail", wrong[0])
    if not context.settings.redis_url:
        raise NotApplicable("REDIS_URL is not set")
    try:
        with _store(context) as client:
            client.ping()
            return _described(client, parse_address(context.settings.redis_url))
    except STORE_ERRORS as error:
        return Finding("fail", f"no answer ({type(error).__name__})")


def _described(client: redis.Redis, address: StoreAddress) -> Finding:
    """Return what kind of store it is, and how many replicas it has: without one a lost primary is lost for good."""
    kind = {"single": "one server", "sentinel": "behind Sentinel", "cluster": "a cluster"}[address.mode]
    try:
        replicas = [int(about.get("connected_slaves", 0)) for about in _about(client, "replication")]
    except errors.NoPermissionError:
        return Finding("pass", f"it answers: {kind}")
    primaries = f"{len(replicas)} primaries, " if address.mode == "cluster" else ""
    said = f"it answers: {kind}, {primaries}{sum(replicas)} replicas"
    if not address.is_verified:
        return Finding("warn", f"{said}; its certificate is not checked")
    return Finding("warn" if address.mode != "single" and 0 in replicas else "pass", said)


def _about(client: redis.Redis, section: str) -> list[dict[str, Any]]:
    """Return a section of ``INFO``, of each primary."""
    if not is_cluster(client):
        return [client.info(section)]
    nodes = cast("RedisCluster", client).get_primaries()  # type: ignore[no-untyped-call]
    return [node.redis_connection.info(section) for node in nodes if node.redis_connection is not None]


def _latency(context: DiagnosticContext) -> Finding:
    times_ms = []
    prefix = f"velro:doctor:{secrets.token_hex(8)}"
    with _store(context) as client, _deleted_afterwards(client, prefix):
        recorder = _ErrorRecorder()
        attempts = _attempts(client, prefix, recorder)
        for _ in range(_SAMPLES + 1):
            started_s = time.perf_counter()
            ticket = attempts.begin(_CALLER)
            times_ms.append((time.perf_counter() - started_s) * 1000)
            if isinstance(ticket, Reservation):
                attempts.settle(ticket, succeeded=False)
    if recorder.error is not None:
        return Finding("fail", f"a login could not be counted ({type(recorder.error).__name__})")
    # The first one connects and sends the script.
    median_ms = statistics.median(times_ms[1:])
    said = f"median {median_ms:.2f} ms to count a login; logins give up after {TIMEOUT_S * 1000:.0f} ms"
    if median_ms > TIMEOUT_S * 1000:
        return Finding("fail", said)
    return Finding("warn" if median_ms > _FAR_MS else "pass", said)


def _sharing(context: DiagnosticContext) -> Finding:
    with _store(context) as client:
        return sharing(client)


def _memory(context: DiagnosticContext) -> Finding:
    with _store(context) as client:
        found = [_memory_of(*about) for about in zip(_about(client, "memory"), _about(client, "stats"), strict=True)]
    # Of a cluster, the primary that is worst off.
    return max(found, key=lambda finding: ("pass", "warn", "fail").index(finding.status))


def _memory_of(about: dict[str, Any], stats: dict[str, Any]) -> Finding:
    evicted = int(stats.get("evicted_keys", 0))
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
