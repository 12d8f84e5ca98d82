"""Simulates logins on processes that share cores, as a queueing network.

Each process is a server that does one thing at a time (Python's lock makes it so, Redis by design) and needs a core for
it. A login visits them in the order of the real one. Times of the steps are constant or exponential; a queue is served
first come, first served.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

#: The processes that a login visits. A gateway process stands for all of them until the login has one.
GENERATOR: Final = "generator"
GATEWAY: Final = "gateway"
REDIS: Final = "redis"
UPSTREAM: Final = "upstream"


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time that one login takes, in seconds.

    Attributes:
        gateway: Of the gateway's processes.
        redis: Of Redis.
        upstream: Of the upstream; 0 where it runs elsewhere.
        generator: Of the load generator; 0 where it runs elsewhere.
        wait_s: Time that the upstream takes without a core, such as a hash on another machine.
    """

    gateway: float
    redis: float
    upstream: float = 0.0
    generator: float = 0.0
    wait_s: float = 0.0

    def steps(self, process: str) -> Sequence[tuple[str, float]]:
        """Return the steps of a login that *process* answers: counted in Redis, asked, settled in Redis."""
        own = self.gateway / 4
        return (
            (GENERATOR, self.generator / 2),
            (process, own),
            (REDIS, self.redis / 2),
            (process, own),
            (UPSTREAM, self.upstream),
            (process, own),
            (REDIS, self.redis / 2),
            (process, own),
            (GENERATOR, self.generator / 2),
        )


@dataclass(slots=True)
class _Login:
    began_s: float
    steps: Sequence[tuple[str, float]]
    at: int = 0


@dataclass
class Machine:
    """Runs steps of logins on a number of cores.

    Args:
        cores: How many processes may run at once.
        chance: For times that vary; None leaves them constant.
    """

    cores: int
    chance: random.Random | None = None
    now_s: float = 0.0
    finished: list[tuple[float, float]] = field(default_factory=list)
    _running: int = 0
    _queues: dict[str, deque[_Login]] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _ready: deque[str] = field(default_factory=deque)
    _events: list[tuple[float, int, str, _Login]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def closed(self, costs: Costs, *, processes: int, clients: int, logins: int) -> float:
        """Return logins a second while each of *clients* sends its next login when the last one is answered."""
        gateways = itertools.cycle(f"{GATEWAY}{number}" for number in range(processes))
        for _ in range(clients):
            self._begin(costs, next(gateways))
        while len(self.finished) < logins:
            if self._step() is not None:
                self._begin(costs, next(gateways))
        # The first tenth fills the queues.
        skipped = logins // 10
        return (logins - skipped) / (self.finished[-1][0] - self.finished[skipped - 1][0])

    def opened(self, costs: Costs, *, processes: int, per_s: float, logins: int) -> list[float]:
        """Return the time of each login while they arrive at random times, *per_s* on average."""
        assert self.chance is not None
        gateways = itertools.cycle(f"{GATEWAY}{number}" for number in range(processes))
        arrives_s = 0.0
        for _ in range(logins):
            arrives_s += self.chance.expovariate(per_s)
            login = _Login(arrives_s, costs.steps(next(gateways)))
            heapq.heappush(self._events, (arrives_s, next(self._numbers), "", login))
        while self._events:
            self._step(wait_s=costs.wait_s)
        return [took_s for _, took_s in self.finished]

    def _begin(self, costs: Costs, process: str) -> None:
        self._arrive(_Login(self.now_s, costs.steps(process)))

    def _step(self, wait_s: float = 0.0) -> _Login | None:
        """Take the next event; return a login that has ended."""
        self.now_s, _, process, login = heapq.heappop(self._events)
        if process:
            self._busy.discard(process)
            self._running -= 1
            login.at += 1
            if self._queues[process]:
                self._ready.append(process)
            if wait_s and process == UPSTREAM:
                heapq.heappush(self._events, (self.now_s + wait_s, next(self._numbers), "", login))
            else:
                self._arrive(login)
        else:
            self._arrive(login)
        self._dispatch()
        return login if login.at == len(login.steps) else None

    def _arrive(self, login: _Login) -> None:
        if login.at == len(login.steps):
            self.finished.append((self.now_s, self.now_s - login.began_s))
            return
        process = login.steps[login.at][0]
        queue = self._queues.setdefault(process, deque())
        queue.append(login)
        if process not in self._busy and len(queue) == 1:
            self._ready.append(process)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._ready and self._running < self.cores:
            process = self._ready.popleft()
            if process in self._busy or not self._queues[process]:
                continue
            login = self._queues[process].popleft()
            takes_s = login.steps[login.at][1]
            if self.chance is not None:
                takes_s *= self.chance.expovariate(1.0)
            self._busy.add(process)
            self._running += 1
            heapq.heappush(self._events, (self.now_s + takes_s, next(self._numbers), process, login))
