"""Checks of Redis: there, near, and not about to forget."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Final

import redis

from velro_auth.config.validation import SettingError
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.ops.doctor.sharing import sharing
from velro_auth.stores.client import STORE_ERRORS, TIMEOUT_S, connect

#: An operator would rather wait than be told nothing.
_PATIENCE_S: Final = 2.0
_SAMPLES: Final = 9
_FAR_MS: Final = 20.0
_NEARLY_FULL: Final = 0.9


@contextlib.contextmanager
def _store(case: DiagnosticContext) -> Iterator[redis.Redis]:
    with contextlib.closing(connect(case.settings.redis_url, timeout_s=_PATIENCE_S)) as client:
        yield client


def _shared(case: DiagnosticContext) -> Finding:
    settings = case.settings
    processes = settings.web_concurrency * settings.auth_replicas
    if settings.redis_url:
        return Finding("pass", f"{processes} processes, and REDIS_URL is set; redis.sharing tries it out")
    if processes == 1:
        return Finding("pass", "one process: nothing has to be shared")
    return Finding("warn", f"{processes} processes, and no REDIS_URL")


def _reachable(case: DiagnosticContext) -> Finding:
    if wrong := _mistake(case):
        return Finding("fail", str(wrong))
    if not case.settings.redis_url:
        raise NotApplicable("REDIS_URL is not set")
    try:
        with _store(case) as client:
            client.ping()
    except STORE_ERRORS as error:
        return Finding("fail", f"no answer ({type(error).__name__})")
    return Finding("pass", "it answers")


def _mistake(case: DiagnosticContext) -> SettingError | None:
    return next((one for one in case.settings.mistakes if one.variable == "REDIS_URL"), None)


def _latency(case: DiagnosticContext) -> Finding:
    times_ms = []
    with _store(case) as client:
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


def _sharing(case: DiagnosticContext) -> Finding:
    with _store(case) as client:
        return sharing(client)


def _memory(case: DiagnosticContext) -> Finding:
    with _store(case) as client:
        about = client.info("memory")
        evicted = int(client.info("stats").get("evicted_keys", 0))
    most, used = int(about.get("maxmemory", 0)), int(about.get("used_memory", 0))
    policy = str(about.get("maxmemory_policy", "unknown"))
    said = f"policy {policy}, {used / 1024**2:.1f} MiB used of {f'{most / 1024**2:.1f} MiB' if most else 'no limit'}"
    if evicted:
        return Finding("fail", f"{said}; {evicted} keys were thrown away already")
    if most and used > _NEARLY_FULL * most:
        return Finding("fail", f"{said}: nearly full")
    return Finding("warn" if most and policy != "noeviction" else "pass", said)


CHECKS: Final = (
    Check(
        name="redis.shared",
        what="Several processes have a Redis to share.",
        why="Without one each has its part of the limits, and a logout reaches only the process that did it.",
        mend="Add a Redis to the project and set REDIS_URL, or run one process (WEB_CONCURRENCY=1, AUTH_REPLICAS=1).",
        look=_shared,
    ),
    Check(
        name="redis.reachable",
        what="Redis answers.",
        why="While it does not, each process counts on its own, and logouts reach the others late.",
        mend="Start it, or correct REDIS_URL (Railway: ${{Redis.REDIS_URL}}, the private address).",
        look=_reachable,
    ),
    Check(
        name="redis.sharing",
        what="Redis runs the scripts and commands that count logins, end sessions and hand refreshes over.",
        why="A cluster, a read-only replica or a user without rights answers, but each process counts alone.",
        mend="Use a Redis or Valkey without cluster mode, at its primary, with a user who has the rights listed above.",
        look=_sharing,
        needs=("redis.reachable",),
    ),
    Check(
        name="redis.latency",
        what="How long Redis takes to answer.",
        why="Each login asks it twice; beyond 250 ms the gateway goes on without it.",
        mend="Put Redis into the same region and use its private address.",
        look=_latency,
        needs=("redis.reachable",),
    ),
    Check(
        name="redis.memory",
        what="Redis has room, and does not throw keys away when it has none.",
        why="An evicted key is a forgotten guess or a forgotten logout; a full Redis takes no new ones.",
        mend="Give it more memory (maxmemory), set maxmemory-policy to noeviction, and do not share it with a cache.",
        look=_memory,
        needs=("redis.reachable",),
    ),
)
