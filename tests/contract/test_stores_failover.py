"""The primary of the store is lost: no login fails, budgets stay within their bound, and no logout is forgotten.

``VELRO_FAULTS=1`` adds primaries that hang instead of dying. ``python -m tests.faultlab.failover`` does the same to a
whole gateway, under load.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from tests.contract.test_tokens_denylist import log_out, session
from tests.fixtures.redis_cluster import ClusterGroup, Node, running_cluster
from tests.fixtures.redis_sentinel import SentinelGroup, running_sentinels
from tests.unit.guards.model import KEYRING
from tests.waiting import eventually
from velro_auth.auth.tokens import Claims
from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.limits import Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import SharedStore
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis

Group: TypeAlias = SentinelGroup | ClusterGroup

PROCESSES = 2
ALLOWED = Limits().strangers.free
SHARE = Limits().scaled(1 / PROCESSES).strangers.free
PREFIX = "velro:failover"

_networks = itertools.count(1)


class Process:
    """What one process of the service has of the store."""

    def __init__(self, url: str, ends: ExitStack) -> None:
        self.store = SharedStore.of(url, prefix=PREFIX)
        ends.callback(self.store.close)
        client = self.store.client
        assert client is not None
        ends.callback(client.close)
        self.attempts = RedisAttempts(
            client=client,
            limits=Limits(),
            fallback=MemoryAttempts(limits=Limits().scaled(1 / PROCESSES)),
            backoff=self.store.counters,
            prefix=PREFIX,
        )
        self.denied = RedisDenyList(
            store=DenialsInRedis(client=client, prefix=PREFIX), backoff=self.store.sessions, heartbeat_s=0.5
        )
        ends.callback(self.denied.close)

    def guess(self, account: str, times: int = 1) -> int:
        """Try wrong passwords, each from another network; return how many were let through."""
        addresses = [f"10.{number // 250}.{number % 250}.1" for number in itertools.islice(_networks, times)]
        answers = [self.attempts.begin(KEYRING.caller(account, address)) for address in addresses]
        return sum(isinstance(answer, Reservation) for answer in answers)

    def log_in(self, account: str, address: str) -> bool:
        """Log in with the right password; return whether the pair was known."""
        answer = self.attempts.begin(KEYRING.caller(account, address))
        assert isinstance(answer, Reservation)
        self.attempts.settle(answer, succeeded=True)
        return answer.is_known


FAULTS = [
    pytest.param(mode, fault, marks=[] if fault == "kill" or os.environ.get("VELRO_FAULTS") else [pytest.mark.skip])
    for mode in ("sentinel", "cluster")
    for fault in ("kill", "pause")
]


@pytest.fixture
def group(mode: str) -> Iterator[Group]:
    running = running_sentinels(down_after_ms=1000) if mode == "sentinel" else None
    if running is not None:
        with running as sentinels:
            yield sentinels
        return
    with running_cluster(replicas=1, node_timeout_ms=1500) as cluster:
        yield cluster


@pytest.fixture
def processes(group: Group) -> Iterator[list[Process]]:
    with ExitStack() as ends:
        made = [Process(group.url, ends) for _ in range(PROCESSES)]
        for one in made:
            one.denied.start()
        eventually(lambda: all(one.denied.is_live for one in made))
        yield made


def primary_of(group: Group, process: Process, account: str) -> Node:
    if isinstance(group, SentinelGroup):
        return group.primary()
    return group.primary_of(process.attempts._keys.key(KEYRING.account(account), ""))


def replicate(group: Group) -> None:
    """Wait until the replicas have everything: what they lack is lost, and a test cannot say how much that is."""
    for node in group.nodes:
        if node.role() == "master":
            with node.client() as client:
                replicas = client.info("replication")["connected_slaves"]
                eventually(lambda: client.wait(replicas, 1000) >= replicas)  # noqa: B023


def replicas_of(group: Group, primary: Node) -> list[Node]:
    found = []
    for node in group.nodes:
        with node.client() as client:
            about = client.info("replication")
        if about["role"] == "slave" and about["master_port"] == primary.port:
            found.append(node)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sentinel", "cluster"])
def test_what_a_new_primary_lacks_is_written_again(group: Group, processes: list[Process]) -> None:
    """All of the budget is used through one process, so the other one still has its share."""
    here, there = processes
    ended, lost = lost_session(group, here)
    accounts = (f"lost-{number}@example.com" for number in itertools.count())
    account = next(account for account in accounts if primary_of(group, here, account) is lost)
    replicas = replicas_of(group, lost)
    for node in replicas:
        node.pause()
    with lost.client() as client:
        # Or the system would hand over what was sent to them.
        client.client_kill_filter(_type="replica")
    tried = here.guess(account, 20)
    log_out(here.denied, ended)

    lost.kill()
    for node in replicas:
        node.resume()
    tried += there.guess(account, 20)
    eventually(lambda: lost.port not in ports_of_primaries(group))
    for _ in range(3):
        eventually(lambda: not any(process.store.is_degraded() for process in processes))
        eventually(lambda: is_recounted(processes))
        tried += sum(process.guess(account, 20) for process in processes)

    assert ALLOWED <= tried <= ALLOWED + PROCESSES * SHARE
    with ExitStack() as ends:
        late = Process(group.url, ends)
        eventually(lambda: late.denied.denies(ended))


def lost_session(group: Group, process: Process) -> tuple[Claims, Node]:
    """Return a session and the primary of its denial, in a cluster one at which no process listens."""
    if isinstance(group, SentinelGroup):
        return session(4), group.primary()
    heard = group.primary_of(process.denied._store.channel)
    for number in itertools.count(4):
        primary = group.primary_of(f"{PREFIX}:denied:session:{session(number).session_id}")
        if primary is not heard:
            return session(number), primary
    raise AssertionError


def is_recounted(processes: list[Process]) -> bool:
    """Ask for it as the next login does, and return whether it is done."""
    for process in processes:
        process.guess(f"{secrets.token_hex(4)}@example.com")
    return all(one.attempts._recent.recoveries == one.store.counters.recoveries for one in processes)


def ports_of_primaries(group: Group) -> set[int]:
    return {node.port for node in group.nodes if node.is_running and node.role() == "master"}


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "fault"), FAULTS)
def test_a_lost_primary(group: Group, processes: list[Process], fault: str) -> None:
    before, during, owner = (f"{name}-{secrets.token_hex(4)}@example.com" for name in ("before", "during", "owner"))
    here, there = processes
    assert sum(process.guess(before, 20) for process in processes) == ALLOWED
    here.log_in(owner, "192.0.2.1")
    log_out(here.denied, session(1))
    replicate(group)

    lost = primary_of(group, here, before)
    lost.kill() if fault == "kill" else lost.pause()
    tried = {before: 0, during: 0}
    for account in (before, during):
        tried[account] += sum(process.guess(account, 30) for process in processes)
    assert here.log_in(owner, "192.0.2.1")
    log_out(here.denied, session(2))
    assert here.denied.denies(session(2))

    eventually(lambda: not any(process.store.is_degraded() for process in processes))
    eventually(lambda: all(process.denied.denies(session(2)) for process in processes))
    eventually(lambda: is_recounted(processes))
    for account in (before, during):
        tried[account] += sum(process.guess(account, 30) for process in processes)
    assert ALLOWED + tried[before] <= ALLOWED + PROCESSES * SHARE
    assert tried[during] <= ALLOWED + PROCESSES * SHARE
    assert there.log_in(owner, "192.0.2.1")
    with ExitStack() as ends:
        late = Process(group.url, ends)
        eventually(lambda: late.denied.denies(session(1)) and late.denied.denies(session(2)))
        assert not late.denied.denies(session(3))
    if fault == "pause":
        lost.resume()
