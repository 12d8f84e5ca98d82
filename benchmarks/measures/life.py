"""A server's life: how soon it answers, what it weighs, and whether it stays that way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from benchmarks.load import closed_loop
from benchmarks.results import Measure
from benchmarks.servers import GATEWAY, SERVERS, Contender, Upstream
from benchmarks.setting import Setting, in_turn, logins, titles

_CONNECTIONS: Final = 8


def starts(setting: Setting, clock: Callable[[], float] = time.perf_counter) -> Measure:
    """Measure the time from the start of the process to its first 200, and its memory then."""
    rounds = []
    with setting.fleet.upstream(delay_ms=0) as upstream:
        for number in range(setting.effort.starts):
            setting.tell(f"start to first 200, round {number + 1}")
            rounds.append({c.name: _start(setting, c, upstream, clock) for c in in_turn(SERVERS, number)})
    return Measure(
        name="start",
        title="From start to the first 200, and the memory of one worker",
        metrics=("start ms", "MiB", "MiB after logins"),
        titles=titles(SERVERS),
        rounds=rounds,
        notes=(f"Memory is the resident set, before and after {setting.effort.memory_logins} logins.",),
    )


def _start(setting: Setting, contender: Contender, upstream: Upstream, clock: Callable[[], float]) -> dict[str, float]:
    started_s = clock()
    with setting.fleet.server(contender, upstream) as server:
        found = {"start ms": (clock() - started_s) * 1000, "MiB": server.memory_mib()}
        if contender.logs_in:
            closed_loop(server.port, logins(contender), connections=_CONNECTIONS, count=setting.effort.memory_logins)
            found["MiB after logins"] = server.memory_mib()
    return found


def endurance(setting: Setting) -> Measure:
    """Measure many logins in one run: none lost, none mixed up, and how memory grows after the first tenth."""
    total, limit_s = setting.effort.endurance_logins, setting.effort.endurance_s
    with setting.fleet.upstream(delay_ms=0) as upstream, setting.fleet.server(GATEWAY, upstream) as server:
        setting.tell(f"{total:,} logins in one run")
        questions = logins(GATEWAY)
        first = closed_loop(server.port, questions, connections=_CONNECTIONS, count=total // 10, duration_s=limit_s)
        before_mib = server.memory_mib()
        rest = closed_loop(
            server.port, questions, connections=_CONNECTIONS, count=total - total // 10, duration_s=limit_s
        )
        grown_mib = server.memory_mib() - before_mib
    found = {
        "logins": float(first.answered + rest.answered),
        "failed or mixed up": float(first.failed + rest.failed),
        "logins/s": rest.per_s,
        "p99 ms": rest.p99_ms,
        "MiB before": before_mib,
        "MiB grown": grown_mib,
    }
    return Measure(
        name="endurance",
        title=f"Up to {total:,} logins in one run",
        metrics=tuple(found),
        titles=titles([GATEWAY]),
        rounds=[{GATEWAY.name: found}],
        notes=(
            "Each answer is checked to be its own user's. Growth is counted from the first tenth of the logins on.",
            f"It ends early after {limit_s:g} s.",
        ),
    )
