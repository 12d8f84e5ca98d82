"""An upstream over TLS, a round trip of 20 ms away, that closes connections after 5 silent seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.certificate import issue
from benchmarks.load import Caller, open_loop
from benchmarks.results import Measure, Round
from benchmarks.servers import FLASK_SUPABASE, LOGIN_SERVERS, Contender, Server, far_upstream
from benchmarks.setting import Setting, in_turn, logins, titles
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.schedule import Arrival

_RTT_MS: Final = 20.0
_IDLE_CLOSE_S: Final = 5.0
_WARM_LOGINS: Final = 10
_NOW: Final = Arrival(0.0, "good")

#: A client for each login is too much work to go unnoticed by those who run beside it.
_LIGHT: Final = tuple(contender for contender in LOGIN_SERVERS if contender != FLASK_SUPABASE)

_WHERE: Final = f"TLS, round trip {_RTT_MS:g} ms, idle connections closed after {_IDLE_CLOSE_S:g} s"


@contextlib.contextmanager
def _servers(setting: Setting, contenders: Sequence[Contender]) -> Iterator[list[Server]]:
    trust = issue(setting.folder)
    files = (trust.certificate, trust.authorities)
    with (
        far_upstream(setting.fleet, files, rtt_ms=_RTT_MS, idle_s=_IDLE_CLOSE_S) as upstream,
        setting.fleet.servers(contenders, upstream) as servers,
    ):
        yield servers


def after_idle(
    setting: Setting,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Measure:
    """Measure the first login after start and after idle time, beside those that follow it."""
    rounds: list[Round] = []
    for number in range(setting.effort.slow_rounds):
        setting.tell(f"first login after idle, round {number + 1}")
        with _servers(setting, LOGIN_SERVERS) as servers:
            found: dict[str, dict[str, float]] = {}
            for server in in_turn(servers, number):
                first_ms, *warm_ms = _logins(server, 1 + _WARM_LOGINS, clock)
                found[server.contender.name] = {
                    "first after start ms": first_ms,
                    "warm ms": sorted(warm_ms)[len(warm_ms) // 2],
                }
            sleep(setting.effort.idle_s)
            for server in in_turn(servers, number):
                [idle_ms] = _logins(server, 1, clock)
                found[server.contender.name]["first after idle ms"] = idle_ms
            rounds.append(found)
    return Measure(
        name="idle",
        title=f"The first login ({_WHERE})",
        metrics=("first after start ms", "first after idle ms", "warm ms"),
        titles=titles(LOGIN_SERVERS),
        rounds=rounds,
        notes=(f"Idle for {setting.effort.idle_s:g} s. Warm: the median of {_WARM_LOGINS} logins in a row.",),
    )


def _logins(server: Server, count: int, clock: Callable[[], float]) -> list[float]:
    took_ms = []
    with contextlib.closing(Caller(server.port, logins(server.contender))) as caller:
        for _ in range(count):
            started_s = clock()
            answer = caller(_NOW)
            assert answer.status == 200, answer  # noqa: PLR2004 - anything else would be no login
            took_ms.append((clock() - started_s) * 1000)
    return took_ms


def flatness(setting: Setting) -> Measure:
    """Measure p95 at 1 login a second beside p95 at 10: whether those who come seldom wait longer."""
    rounds: list[Round] = []
    with _servers(setting, _LIGHT) as servers:
        for number in range(setting.effort.slow_rounds):
            setting.tell(f"1 login a second beside 10, round {number + 1}")
            seldom = _p95_ms(servers, 1.0, setting.effort.seldom_s, seed=number)
            often = _p95_ms(servers, 10.0, setting.effort.often_s, seed=number)
            rounds.append({
                name: {
                    "p95 at 1/s ms": seldom[name],
                    "p95 at 10/s ms": often[name],
                    "ratio": seldom[name] / often[name],
                }
                for name in seldom
            })  # fmt: skip
    return Measure(
        name="flat",
        title=f"Seldom beside often ({_WHERE})",
        metrics=("p95 at 1/s ms", "p95 at 10/s ms", "ratio"),
        titles=titles(_LIGHT),
        rounds=rounds,
        notes=("All servers at the same time: 30 logins a second are little to do for all of them together.",),
    )


def _p95_ms(servers: Sequence[Server], rps: float, duration_s: float, *, seed: int) -> dict[str, float]:
    def one(server: Server) -> float:
        samples = open_loop(server.port, logins(server.contender), rps=rps, duration_s=duration_s, seed=seed)
        spread = figures(samples).classes["good"].latency_ms
        assert spread is not None
        return spread.p95

    with ThreadPoolExecutor(len(servers)) as pool:
        found = pool.map(one, servers)
        return {server.contender.name: p95 for server, p95 in zip(servers, found, strict=True)}
