"""Measures what a login costs: processor time of each process, operations and memory of Redis."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.growth.simulation import Costs
from benchmarks.load import closed_loop
from benchmarks.servers import GATEWAY, Contender, Fleet, Server, Upstream
from benchmarks.wire import Question, login
from tests.fixtures.redis import RedisServer, running_redis

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
CLIENTS: Final = 16
#: GUNICORN_THREADS, and how long workers may take to start them.
_POOL_THREADS: Final = 32
_START_S: Final = 30.0
#: Between two loads.
_BETWEEN_S: Final = 0.5
#: Calls per login that are worth a row: those of the background are fewer.
_LEAST: Final = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """What one closed loop came to.

    Attributes:
        processes: Gateway processes.
        per_s: Logins a second.
        costs: Processor time of each login.
        commands: Redis command → calls per login, those of scripts included.
    """

    processes: int
    per_s: float
    costs: Costs
    commands: dict[str, float]

    @property
    def round_trips(self) -> float:
        """Calls per login that crossed the network: scripts count once, the commands inside them do not."""
        return sum(calls for name, calls in self.commands.items() if name in {"evalsha", "eval", "get", "set", "time"})


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def users() -> Iterator[Question]:
    """Return logins of users without end, each the first of its user."""
    return map(login, itertools.count())


@contextlib.contextmanager
def deployment(fleet: Fleet, processes: int) -> Iterator[tuple[Server, Upstream, RedisServer]]:
    """Run a gateway of so many processes with a Redis of its own, over an upstream that answers at once."""
    settings = {
        "WEB_CONCURRENCY": str(processes),
        "WORKER_CPU_AFFINITY": "0",
        "AUTH_CAPTCHA": "off",
        "AUTH_THROTTLE_SCALE": "1000000",
        "AUTH_UPSTREAM_QUOTA": "off",
    }
    with running_redis() as store, fleet.upstream(delay_ms=0) as upstream:
        contender = Contender(
            GATEWAY.name, GATEWAY.title, GATEWAY.command, settings={**settings, "REDIS_URL": store.url}
        )
        with fleet.server(contender, upstream) as server:
            yield server, upstream, store


def measure(fleet: Fleet, processes: int, *, seconds: float) -> Run:
    """Measure logins a second with so many gateway processes, and what each login cost."""
    with deployment(fleet, processes) as (server, upstream, store), store.client() as client:
        assert server.process is not None
        questions = users()
        # All workers have to be there before the first client: a kept connection never moves to another one.
        _await_workers(server, processes)
        closed_loop(server.port, questions, connections=CLIENTS, duration_s=min(1.0, seconds))
        # Connections that are not closed yet would count as a worker's.
        time.sleep(_BETWEEN_S)
        gateways = children(server.process.pid)
        upstreams = listeners(upstream.port)
        client.config_resetstat()
        before = _used(gateways, upstreams, client)
        found = closed_loop(server.port, questions, connections=CLIENTS, duration_s=seconds)
        after = _used(gateways, upstreams, client)
        calls: dict[str, Any] = client.info("commandstats")
    spent = {name: (after[name] - before[name]) / found.answered for name in before}
    commands = {
        name.removeprefix("cmdstat_"): about["calls"] / found.answered
        for name, about in calls.items()
        if name not in {"cmdstat_info", "cmdstat_config|resetstat"}
    }
    costs = Costs(spent["gateway"], spent["redis"], spent["upstream"], spent["generator"])
    return Run(processes, found.per_s, costs, {name: each for name, each in commands.items() if each >= _LEAST})


def _await_workers(server: Server, processes: int) -> None:
    """Wait until each worker has its pool of threads.

    Raises:
        TimeoutError: One of them has not.
    """
    assert server.process is not None
    ends_s = time.monotonic() + _START_S
    while [_threads(pid) > _POOL_THREADS for pid in children(server.process.pid)] != [True] * processes:
        if time.monotonic() > ends_s:
            raise TimeoutError(f"{processes} workers did not start within {_START_S} s")
        time.sleep(0.05)


def _threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def _used(gateways: list[int], upstreams: list[int], client: redis.Redis) -> dict[str, float]:
    cpu: dict[str, Any] = client.info("cpu")
    times = os.times()
    return {
        "gateway": sum(map(processor_s, gateways)),
        "upstream": sum(map(processor_s, upstreams)),
        "redis": float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        "generator": times.user + times.system,
    }


def listeners(port: int) -> list[int]:
    """Return the processes that listen on a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if inodes & {each.readlink().name for each in folder.iterdir()}:
                found.append(int(folder.parent.name))
    return found


def bytes_per_account(fleet: Fleet, *, accounts: int) -> float:
    """Return what Redis keeps for an account that logged in from one network, in bytes."""
    with deployment(fleet, 1) as (server, _, store), store.client() as client:
        questions = users()
        closed_loop(server.port, questions, connections=CLIENTS, count=100)
        before = int(client.info("memory")["used_memory"])
        closed_loop(server.port, questions, connections=CLIENTS, count=accounts)
        return (int(client.info("memory")["used_memory"]) - before) / accounts
