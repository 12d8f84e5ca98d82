"""Probes and token checks: requests that ask nobody else."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Final

from benchmarks.load import closed_loop
from benchmarks.results import Measure
from benchmarks.servers import BARE, FASTAPI, FLASK_POOLED, GATEWAY, Server
from benchmarks.setting import Setting, in_turn, logins, titles
from benchmarks.wire import Line, Question, get

_CONNECTIONS: Final = 8
_VERIFY: Final = "/api/v1/auth/verify"

_EVERYBODY: Final = (BARE, GATEWAY, FLASK_POOLED, FASTAPI)


def throughput(setting: Setting) -> list[Measure]:
    """Measure health, ping and, where there is one, the check of a known token."""
    with setting.fleet.upstream(delay_ms=0) as upstream, setting.fleet.servers(_EVERYBODY, upstream) as servers:
        found = [
            _measure(setting, servers, get("/health"), "health", "`/health`"),
            _measure(setting, servers, get("/api/v1/auth/ping"), "ping", "`/api/v1/auth/ping`"),
        ]
        gateway = next(server for server in servers if server.contender == GATEWAY)
        check = get(_VERIFY, token=_token(gateway))
        if _works(gateway, check):
            able = [server for server in servers if server.contender in {BARE, GATEWAY}]
            found.append(_measure(setting, able, check, "verify", f"`{_VERIFY}` with a known token"))
    return found


def _measure(setting: Setting, servers: list[Server], question: Question, name: str, title: str) -> Measure:
    rounds = []
    for number in range(setting.effort.rounds):
        setting.tell(f"{name}, round {number + 1}")
        rounds.append({server.contender.name: _one(server, question, setting) for server in in_turn(servers, number)})
    return Measure(
        name=name,
        title=f"{title}, {_CONNECTIONS} connections, the headers an edge adds",
        metrics=("requests/s", "p50 ms", "p99 ms", "failed"),
        titles=titles([server.contender for server in servers]),
        rounds=rounds,
        ratio_of="requests/s",
        reference=BARE.name,
    )


def _one(server: Server, question: Question, setting: Setting) -> dict[str, float]:
    found = closed_loop(
        server.port, itertools.repeat(question), connections=_CONNECTIONS, duration_s=setting.effort.closed_s
    )
    return {
        "requests/s": found.per_s,
        "p50 ms": found.p50_ms,
        "p99 ms": found.p99_ms,
        "failed": found.failed,
    }


def _token(server: Server) -> str:
    with contextlib.closing(Line(server.port, timeout_s=10)) as line:
        _, body = line.ask(next(logins(server.contender)).request)
    token = json.loads(body)["access_token"]
    assert isinstance(token, str)
    return token


def _works(server: Server, question: Question) -> bool:
    with contextlib.closing(Line(server.port, timeout_s=10)) as line:
        return question.is_answered_by(*line.ask(question.request))
