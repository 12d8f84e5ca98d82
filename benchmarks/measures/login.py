"""Logins: how many a second, and how much later than the upstream alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.load import Throughput, closed_loop, open_loop
from benchmarks.results import Measure, Round
from benchmarks.servers import DIRECT, FLASK_POOLED, LOGIN_SERVERS, Server
from benchmarks.setting import Setting, in_turn, logins, titles
from velro_auth.ops.bench.figures import figures

#: What a password hash takes on Supabase's smallest machine.
DELAY_MS: Final = 70.0
_CONNECTIONS: Final = 8
#: Above this share of what it can do at all, a server only shows its queue.
_SENSIBLE_LOAD: Final = 0.8

_EVERYBODY: Final = (DIRECT, *LOGIN_SERVERS)


def throughput(setting: Setting) -> Measure:
    """Measure logins a second over an upstream that answers at once."""
    with setting.fleet.upstream(delay_ms=0) as upstream, setting.fleet.servers(_EVERYBODY, upstream) as servers:
        rounds = []
        for number in range(setting.effort.rounds):
            setting.tell(f"logins a second, round {number + 1}")
            rounds.append({
                server.contender.name: _as_metrics(_throughput(server, setting)) for server in in_turn(servers, number)
            })  # fmt: skip
    return Measure(
        name="logins",
        title=f"Logins a second, upstream 0 ms, {_CONNECTIONS} connections",
        metrics=("logins/s", "p50 ms", "p99 ms", "failed"),
        titles=titles(_EVERYBODY),
        rounds=rounds,
        ratio_of="logins/s",
        reference=FLASK_POOLED.name,
        notes=("The upstream's own row is the ceiling of this measurement: the load generator runs beside it.",),
    )


def _throughput(server: Server, setting: Setting) -> Throughput:
    found = closed_loop(
        server.port, logins(server.contender), connections=_CONNECTIONS, duration_s=setting.effort.closed_s
    )
    assert found.answered, f"{server.contender.title} logs nobody in; see the log"
    return found


def _as_metrics(found: Throughput) -> dict[str, float]:
    return {
        "logins/s": found.per_s,
        "p50 ms": found.p50_ms,
        "p99 ms": found.p99_ms,
        "failed": found.failed,
    }


def added_latency(setting: Setting, logins_per_s: Mapping[str, float]) -> list[Measure]:
    """Measure what a login takes beyond the upstream, at several rates.

    Args:
        setting: Where to measure.
        logins_per_s: What each contender can do at most; those that a rate would swamp are left out of it.
    """
    with (
        setting.fleet.upstream(delay_ms=DELAY_MS) as upstream,
        setting.fleet.servers(_EVERYBODY, upstream) as servers,
    ):
        rounds: dict[int, list[Round]] = {rps: [] for rps in setting.effort.open_s}
        for number in range(setting.effort.rounds):
            for rps, duration_s in setting.effort.open_s.items():
                setting.tell(f"logins at {rps} a second, round {number + 1}")
                able = [server for server in servers if rps < _SENSIBLE_LOAD * logins_per_s[server.contender.name]]
                rounds[rps].append(_round(in_turn(able, number), rps, duration_s, seed=number))
    return [_measure(rps, rounds[rps]) for rps in rounds]


def _round(servers: Sequence[Server], rps: int, duration_s: float, seed: int) -> Round:
    found: dict[str, dict[str, float]] = {}
    for server in servers:
        samples = open_loop(server.port, logins(server.contender), rps=rps, duration_s=duration_s, seed=seed)
        spread, failed = figures(samples).classes["good"].latency_ms, sum(not s.is_expected for s in samples)
        assert spread is not None
        found[server.contender.name] = {
            "p50 ms": spread.p50,
            "p95 ms": spread.p95,
            "p99 ms": spread.p99,
            "failed": failed,
        }
    direct = found[DIRECT.name]
    for own in found.values():
        own |= {f"added {name} ms": own[f"{name} ms"] - direct[f"{name} ms"] for name in ("p50", "p95", "p99")}
    return found


def _measure(rps: int, rounds: list[Round]) -> Measure:
    missing = [server.title for server in LOGIN_SERVERS if server.name not in rounds[0]]
    note = f"Not at this rate, which is more than 0.8 of what it can do: {', '.join(missing)}."
    return Measure(
        name=f"added_latency_{rps}",
        title=f"What a login adds to an upstream of {DELAY_MS:g} ms, at {rps} a second",
        metrics=("p50 ms", "added p50 ms", "added p95 ms", "added p99 ms", "failed"),
        titles=titles(_EVERYBODY),
        rounds=rounds,
        notes=(note,) if missing else (),
    )
