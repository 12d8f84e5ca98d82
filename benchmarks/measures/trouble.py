"""Probes while Supabase hangs: whether an outage there looks like one here."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Final

from benchmarks.load import open_loop
from benchmarks.results import Measure, Round
from benchmarks.servers import FASTAPI, FLASK_POOLED, GATEWAY, Contender, Server, Upstream
from benchmarks.setting import Setting, in_turn, logins, titles
from benchmarks.upstream import SESSION_PATH
from benchmarks.wire import Line, Question, get
from velro_auth.ops.bench.figures import Percentiles, figures

#: More than any of them has threads.
_HANGING: Final = 50
_PROBES_PER_S: Final = 50
#: Beyond every timeout in the field.
_FOREVER_MS: Final = 600_000.0
_PING: Final = "/api/v1/auth/ping"
_VERIFY: Final = "/api/v1/auth/verify"
_EVERYBODY: Final = (GATEWAY, FLASK_POOLED, FASTAPI)


def while_hung(setting: Setting) -> Measure:
    """Measure ``/health`` while more logins hang in the upstream than there are threads."""
    rounds: list[Round] = []
    with setting.fleet.upstream(delay_ms=_FOREVER_MS) as upstream:
        for number in range(setting.effort.slow_rounds):
            setting.tell(f"health while the upstream hangs, round {number + 1}")
            rounds.append({c.name: _one(setting, c, upstream, seed=number) for c in in_turn(_EVERYBODY, number)})
    return Measure(
        name="hung",
        title=f"`/health` while {_HANGING} logins hang in the upstream, {_PROBES_PER_S} probes a second",
        metrics=("p50 ms", "p99 ms", "failed", "ping p99 ms", "verify p99 ms"),
        titles=titles(_EVERYBODY),
        rounds=rounds,
        notes=("Each server is started anew. Logins that are given up are followed by others.",),
    )


def _one(setting: Setting, contender: Contender, upstream: Upstream, *, seed: int) -> dict[str, float]:
    def probed(question: Question) -> tuple[Percentiles, int]:
        samples = open_loop(
            server.port, itertools.repeat(question), rps=_PROBES_PER_S, duration_s=setting.effort.hung_s, seed=seed
        )
        spread = figures(samples).classes["good"].latency_ms
        assert spread is not None
        return spread, sum(not sample.is_expected for sample in samples)

    with setting.fleet.server(contender, upstream) as server:
        token = _token(upstream)
        if contender == GATEWAY:
            # Its keys are fetched when the first token comes.
            open_loop(server.port, itertools.repeat(get(_VERIFY, token=token)), rps=10, duration_s=1, seed=seed)
        with _hanging(server):
            health, failed = probed(get("/health"))
            found = {"p50 ms": health.p50, "p99 ms": health.p99}
            if contender == GATEWAY:
                for name, question in (("ping", get(_PING)), ("verify", get(_VERIFY, token=token))):
                    spread, more = probed(question)
                    found[f"{name} p99 ms"] = spread.p99
                    failed += more
    return {**found, "failed": failed}


def _token(upstream: Upstream) -> str:
    with contextlib.closing(Line(upstream.port, timeout_s=10)) as line:
        _, body = line.ask(get(SESSION_PATH).request)
    token = json.loads(body)["access_token"]
    assert isinstance(token, str)
    return token


@contextlib.contextmanager
def _hanging(server: Server) -> Iterator[None]:
    """Keep logins in flight that nobody will answer."""
    over = threading.Event()
    questions = logins(server.contender)
    threads = [threading.Thread(target=_hang, args=(server.port, questions, over)) for _ in range(_HANGING)]
    for thread in threads:
        thread.start()
    # Until all of them are on their way.
    over.wait(0.5)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _hang(port: int, questions: Iterator[Question], over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError), contextlib.closing(Line(port, timeout_s=1)) as line:
            line.ask(next(questions).request)
        # Those that are turned away at once come back, but not as a flood.
        over.wait(0.2)
