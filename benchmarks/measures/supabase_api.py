"""``/auth/v1``: the password grant beside the own login, and what is passed on beside nginx."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.load import closed_loop, open_loop
from benchmarks.results import Measure, Round
from benchmarks.servers import DIRECT, GATEWAY, KEY, NGINX, Server, Upstream
from benchmarks.setting import USERS, Setting, in_turn, titles
from benchmarks.upstream import SESSION_PATH
from benchmarks.wire import LOGIN_PATH, TOKEN_PATH, Line, Question, get, login
from velro_auth.ops.bench.figures import figures

#: What a password hash takes on Supabase's smallest machine.
DELAY_MS: Final = 70.0
_RPS: Final = 50
_CONNECTIONS: Final = 8

#: No limit may stop the load of one machine.
_OPEN: Final = {
    "AUTH_SUPABASE_API": "on",
    "AUTH_THROTTLE_SCALE": "1000000",
    "AUTH_UPSTREAM_QUOTA": "off",
    "AUTH_SESSION_CALLS_PER_S": "100000",
}
_GATEWAY: Final = dataclasses.replace(GATEWAY, settings={**GATEWAY.settings, **_OPEN})

#: Way of a login → path and title. The last two are the same process.
_WAYS: Final[Mapping[str, tuple[str, str]]] = {
    DIRECT.name: (TOKEN_PATH, DIRECT.title),
    "own": (LOGIN_PATH, f"`{LOGIN_PATH}`"),
    "supabase_api": (TOKEN_PATH, f"`{TOKEN_PATH}`"),
}

#: What is passed on as it is.
_PAGES: Final = ("/auth/v1/settings", "/auth/v1/user", "/auth/v1/.well-known/jwks.json")


def measures(setting: Setting) -> Iterator[Measure]:
    """Measure both."""
    yield _added_latency(setting)
    yield from _throughput(setting)


def _added_latency(setting: Setting) -> Measure:
    duration_s = setting.effort.open_s[_RPS]
    rounds: list[Round] = []
    with setting.fleet.upstream(delay_ms=DELAY_MS) as upstream, setting.fleet.server(_GATEWAY, upstream) as gateway:
        for number in range(setting.effort.rounds):
            setting.tell(f"password grant, round {number + 1}")
            found = {}
            for way in in_turn(list(_WAYS), number):
                port = upstream.port if way == DIRECT.name else gateway.port
                questions = (login(user, path=_WAYS[way][0], key=KEY) for user in itertools.cycle(range(USERS)))
                samples = open_loop(port, questions, rps=_RPS, duration_s=duration_s, seed=number)
                spread, failed = figures(samples).classes["good"].latency_ms, sum(not s.is_expected for s in samples)
                assert spread is not None, f"no login through {way}; see the log"
                found[way] = {"p50 ms": spread.p50, "p95 ms": spread.p95, "failed": failed}
            rounds.append(_with_added(found))
    return Measure(
        name="supabase_api_login",
        title=f"What `/auth/v1` adds to a login of {DELAY_MS:g} ms, at {_RPS} a second",
        metrics=("p50 ms", "added p50 ms", "added p95 ms", "failed"),
        titles={way: title for way, (_, title) in _WAYS.items()},
        rounds=rounds,
        ratio_of="added p50 ms",
        reference="own",
    )


def _with_added(found: Mapping[str, Mapping[str, float]]) -> Round:
    direct = found[DIRECT.name]
    return {
        way: {**own, **({f"added {name} ms": own[f"{name} ms"] - direct[f"{name} ms"] for name in ("p50", "p95")})}
        for way, own in found.items()
    }


def _throughput(setting: Setting) -> Iterator[Measure]:
    contenders = (DIRECT, _GATEWAY, NGINX)
    with setting.fleet.upstream(delay_ms=0) as upstream, setting.fleet.servers(contenders, upstream) as servers:
        token = _token(upstream)
        for path in _PAGES:
            # Callers of many networks, as in a deployment: one network may use a part of the threads only.
            users = [get(path, token=token, key=KEY, number=number) for number in range(USERS)]
            yield _page(setting, servers, path, users)


def _page(setting: Setting, servers: Sequence[Server], path: str, users: Sequence[Question]) -> Measure:
    rounds = []
    for number in range(setting.effort.rounds):
        setting.tell(f"{path}, round {number + 1}")
        rounds.append({server.contender.name: _one(server, users, setting) for server in in_turn(servers, number)})
    return Measure(
        name=f"supabase_api_{path.rpartition('/')[2].partition('.')[0]}",
        title=f"`{path}` a second, upstream 0 ms, {_CONNECTIONS} connections",
        metrics=("requests/s", "p50 ms", "p99 ms", "failed"),
        titles=titles([server.contender for server in servers]),
        rounds=rounds,
        ratio_of="requests/s",
        reference=NGINX.name,
        notes=("nginx has one worker on the same core, and keeps its connections to the upstream.",),
    )


def _one(server: Server, users: Sequence[Question], setting: Setting) -> dict[str, float]:
    found = closed_loop(
        server.port, itertools.cycle(users), connections=_CONNECTIONS, duration_s=setting.effort.closed_s
    )
    assert found.answered, f"{server.contender.title} answers nothing; see the log"
    return {
        "requests/s": found.per_s,
        "p50 ms": found.p50_ms,
        "p99 ms": found.p99_ms,
        "failed": found.failed,
    }


def _token(upstream: Upstream) -> str:
    with contextlib.closing(Line(upstream.port, timeout_s=5)) as line:
        _, body = line.ask(get(SESSION_PATH).request)
    token: str = json.loads(body)["access_token"]
    return token
