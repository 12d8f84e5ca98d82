"""How many processes and threads, bound to a core or not: what two cores are best used for."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Final

from benchmarks.load import closed_loop, open_loop
from benchmarks.measures.login import DELAY_MS
from benchmarks.results import Measure
from benchmarks.servers import GATEWAY, Contender, Server
from benchmarks.setting import Setting, in_turn, logins, titles
from benchmarks.wire import get
from velro_auth.ops.bench.figures import figures

#: More than the fewest threads there are, so that threads are what is short.
_CONNECTIONS: Final = 24
_RPS: Final = 100


def _model(workers: int, threads: int, *, bound: bool) -> Contender:
    settings = {
        "WEB_CONCURRENCY": str(workers),
        "GUNICORN_THREADS": str(threads),
        "WORKER_CPU_AFFINITY": "on" if bound else "off",
    }
    title = f"{workers} process{'es' * (workers > 1)}, {threads} threads, {'bound' if bound else 'not bound'}"
    return dataclasses.replace(GATEWAY, name=title.replace(" ", "_"), title=title, settings=settings)


MODELS: Final = tuple(
    _model(workers, threads, bound=bound)
    for workers, threads in ((1, 16), (1, 32), (2, 16), (2, 32))
    for bound in (True, False)
)


def processes_and_threads(setting: Setting) -> Measure:
    """Measure this service in several forms, over an upstream of 70 ms, on all cores, load and upstream beside it."""
    fleet = setting.fleet.unbound()
    with fleet.upstream(delay_ms=DELAY_MS) as upstream, fleet.servers(MODELS, upstream) as servers:
        rounds = []
        for number in range(setting.effort.rounds):
            setting.tell(f"processes and threads, round {number + 1}")
            rounds.append({server.contender.name: _one(server, setting) for server in in_turn(servers, number)})
    return Measure(
        name="models",
        title="Processes and threads, on all cores",
        metrics=("logins/s at most", f"login p50 ms at {_RPS}/s", f"login p99 ms at {_RPS}/s", "health/s", "MiB"),
        titles=titles(MODELS),
        rounds=rounds,
        notes=(
            f"Over an upstream of {DELAY_MS:g} ms; most logins a second over {_CONNECTIONS} connections.",
            "Load and upstream use the same cores. MiB is one worker's resident set.",
        ),
    )


def _one(server: Server, setting: Setting) -> dict[str, float]:
    most = closed_loop(
        server.port, logins(server.contender), connections=_CONNECTIONS, duration_s=setting.effort.closed_s
    )
    samples = open_loop(server.port, logins(server.contender), rps=_RPS, duration_s=setting.effort.open_s[_RPS], seed=1)
    spread = figures(samples).classes["good"].latency_ms
    assert spread is not None
    health = closed_loop(
        server.port, itertools.repeat(get("/health")), connections=8, duration_s=setting.effort.closed_s
    )
    return {
        "logins/s at most": most.per_s,
        f"login p50 ms at {_RPS}/s": spread.p50,
        f"login p99 ms at {_RPS}/s": spread.p99,
        "health/s": health.per_s,
        "MiB": server.memory_mib(),
    }
