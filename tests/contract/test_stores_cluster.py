"""What a cluster makes harder: a try is counted slot by slot, the service's counter is divided, and slots move."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from tests.contract.test_guards_attempts import NeverFailing
from tests.contract.test_tokens_denylist import log_out, session
from tests.fixtures.redis_cluster import ClusterGroup, running_cluster
from tests.unit.guards.budget_model import CLAIMS
from tests.unit.guards.budget_model import SMALL as SMALL_BUDGETS
from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import KEYRING, SMALL
from tests.waiting import eventually
from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.budgets import MemoryBudgets, Spent, Taken
from velro_auth.guards.limits import Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import StoreBackoff, connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis

MakeShared = Callable[..., RedisAttempts]


@pytest.fixture
def client(cluster_group: ClusterGroup) -> Iterator[redis.Redis]:
    with connect(cluster_group.url, timeout_s=10.0) as client:
        yield client


@pytest.fixture
def shared(client: redis.Redis) -> MakeShared:
    """Make counters that start empty."""

    def make(limits: Limits = SMALL, backoff: StoreBackoff | None = None) -> RedisAttempts:
        clock = HandClock()
        return RedisAttempts(
            client=client,
            limits=limits,
            fallback=MemoryAttempts(limits=limits, clock=clock),
            backoff=backoff or NeverFailing(clock=clock),
            prefix=f"cluster{secrets.token_hex(4)}",
            clock=clock,
        )

    return make


def tried(attempts: RedisAttempts, account: str, address: str) -> Reservation | Refusal:
    return attempts.begin(KEYRING.caller(account, address))


def evalsha_calls(group: ClusterGroup) -> int:
    """Return how often scripts were called at all nodes."""
    total = 0
    for node in group.nodes:
        with node.client() as client:
            stats = client.info("commandstats")
            total += sum(int(stats[name]["calls"]) for name in stats if name in {"cmdstat_evalsha", "cmdstat_eval"})
    return total


def test_a_refused_try_leaves_nothing_in_the_slots_before(shared: MakeShared) -> None:
    """Its network refused it; the account of somebody else must not pay for that."""
    attempts = shared()
    while isinstance(tried(attempts, secrets.token_hex(4), "10.0.1.7"), Reservation):
        pass
    for _ in range(20):
        refusal = tried(attempts, "victim", "10.0.1.7")
        assert isinstance(refusal, Refusal)
        assert (refusal.scope, refusal.own_scope) == ("network", "network")

    assert attempts.show(KEYRING.account("victim")) == []
    assert isinstance(tried(attempts, "victim", "10.0.2.7"), Reservation)


def test_units_of_a_refused_budget_are_given_back(client: redis.Redis) -> None:
    clock = HandClock()
    budgets = RedisBudgets(
        client=client,
        limits=SMALL_BUDGETS,
        fallback=MemoryBudgets(limits=SMALL_BUDGETS, clock=clock),
        backoff=NeverFailing(clock=clock),
        prefix=f"cluster{secrets.token_hex(4)}",
        clock=clock,
    )
    # Of all claims of a mail, each in turn is the one that is used up.
    claims = max(CLAIMS, key=len)
    for used_up in claims:
        clock.advance(1_000_000)
        while isinstance(budgets.take([used_up]), Taken):
            pass
        others = [claim for claim in claims if claim != used_up]

        for _ in range(20):
            answer = budgets.take(claims)
            assert isinstance(answer, Spent)
            assert answer.kind == used_up.kind

        assert isinstance(budgets.take(others), Taken)


def test_a_try_is_three_calls_and_one_of_a_known_pair_is_one(shared: MakeShared, cluster_group: ClusterGroup) -> None:
    attempts, caller = shared(), KEYRING.caller("a", "2001:db8::7")
    reservation = attempts.begin(caller)
    assert isinstance(reservation, Reservation)
    attempts.settle(reservation, succeeded=True)
    stranger = KEYRING.caller("b", "2001:db8::7")
    attempts.begin(stranger)  # the nodes know the script now

    calls = []
    for one in (stranger, caller):
        before = evalsha_calls(cluster_group)
        attempts.begin(one)
        calls.append(evalsha_calls(cluster_group) - before)

    assert calls == [3, 1]


def test_the_service_s_counter_is_divided_and_allows_no_more(shared: MakeShared, client: redis.Redis) -> None:
    attempts, limits = shared(Limits()), Limits().service

    allowed = [
        number
        for number in range(600)
        if isinstance(tried(attempts, f"{number}@example.com", f"10.{number // 250}.{number % 250}.1"), Reservation)
    ]

    assert limits.burst * 3 // 4 <= len(allowed) <= limits.burst
    keys = [attempts._keys.key(f"service{shard}", "service") for shard in range(10)]
    assert all(client.exists(key) for key in keys)
    assert len({client.keyslot(key) for key in keys}) == 10  # type: ignore[attr-defined] # of a cluster's client


@pytest.mark.parametrize("scale", [1 / 40, 1 / 10, 1 / 4, 1, 10])
def test_parts_of_the_service_s_counter_never_add_up_to_more(shared: MakeShared, scale: float) -> None:
    service = Limits().scaled(scale).service

    keys = shared(Limits().scaled(scale))._keys

    assert keys.shards * keys.share.burst <= service.burst
    assert keys.shards * keys.share.burst_after_failure <= service.burst_after_failure
    assert keys.shards * (1 / keys.share.refill_s) == pytest.approx(1 / service.refill_s)
    assert keys.share.burst > 0


def test_a_process_that_ends_between_two_calls_leaves_one_try(shared: MakeShared) -> None:
    """It errs on the safe side: the account has one try less, and memory decides about this one."""
    attempts = shared(backoff=StoreBackoff(clock=HandClock()))
    run, commands = attempts._run, itertools.count()

    def end_after_the_first(*arguments: object) -> object:
        if next(commands) == 1:
            raise redis.exceptions.ConnectionError
        return run(*arguments)  # type: ignore[arg-type]

    attempts._run = end_after_the_first  # type: ignore[method-assign, assignment]

    assert isinstance(tried(attempts, "a", "10.0.1.7"), Reservation)

    attempts._run = run  # type: ignore[method-assign]
    counted = {status.scope: status.streak for status in attempts.show(KEYRING.account("a"))}
    assert counted == {"pair": 1, "strangers": 1, "account": 1}
    assert [one.scope for one in attempts.show(KEYRING.network("10.0.1.7"))] == ["pair"]


def test_the_operator_finds_and_releases_what_is_in_several_slots(shared: MakeShared) -> None:
    attempts, caller = shared(), KEYRING.caller("a", "2001:db8::7")
    attempts.begin(caller)

    assert attempts.release(caller.network, *caller.wider) == 3 + 1
    assert attempts.release(caller.account) == 2


def test_a_logout_waits_for_processes_that_listen_at_other_nodes(cluster_group: ClusterGroup) -> None:
    """PUBLISH counts those at one node only."""
    prefix = f"cluster{secrets.token_hex(4)}"
    with ExitStack() as ends:

        def make() -> RedisDenyList:
            client = ends.enter_context(connect(cluster_group.url, timeout_s=10.0))
            made = RedisDenyList(store=DenialsInRedis(client=client, prefix=prefix), ack_s=20.0, heartbeat_s=5.0)
            ends.callback(made.close)
            return made

        here, there = make(), make()
        subscribe = there._store.subscribe

        def elsewhere() -> object:
            """Subscribe at a node that does not serve the channel."""
            client = there._store._client
            owner = client.get_node_from_key(there._store.channel)  # type: ignore[attr-defined]
            other = next(node for node in client.get_primaries() if node != owner)  # type: ignore[attr-defined]
            subscription = client.pubsub(node=other)  # type: ignore[no-untyped-call]
            subscription.subscribe(there._store.channel)
            return subscription

        assert callable(subscribe)
        there._store.subscribe = elsewhere  # type: ignore[assignment, method-assign]
        for one in (here, there):
            one.start()
        eventually(lambda: here.is_live and there.is_live)

        for number in range(30):
            log_out(here, session(number))
            assert there._memory.denies(session(number))


@pytest.mark.slow
def test_slots_that_move_while_they_are_used_lose_and_add_nothing() -> None:
    """Counted tries are exact, and no call fails."""
    with running_cluster(replicas=0) as group, connect(group.url, timeout_s=10.0) as client:
        limits = Limits().scaled(1000)
        attempts = RedisAttempts(
            client=client,
            limits=limits,
            fallback=MemoryAttempts(limits=limits),
            backoff=NeverFailing(),
            prefix="moving",
        )
        caller, counts, moves, stop = KEYRING.caller("a", "2001:db8::7"), [0] * 4, 0, threading.Event()

        def guess(number: int) -> None:
            for turn in itertools.count():
                if stop.is_set():
                    return
                answer = attempts.begin(caller)
                assert isinstance(answer, Reservation)
                if turn % 3 == 0:
                    attempts.settle(answer, succeeded=False)
                else:
                    counts[number] += 1

        threads = [threading.Thread(target=guess, args=(number,)) for number in range(len(counts))]
        for thread in threads:
            thread.start()
        ends_s = time.monotonic() + 60
        try:
            while moves < 6 or sum(counts) < 100:
                assert time.monotonic() < ends_s
                assert all(thread.is_alive() for thread in threads)
                for name in (caller.account, caller.wider[-1]):
                    group.move_slot(attempts._keys.key(name, ""))
                    moves += 1
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)

        found = [*attempts.show(caller.account), *attempts.show(caller.network, *caller.wider)]
        counted = {status.scope: status.streak for status in found}
        assert counted["pair"] == counted["strangers"] == sum(counts)
        assert counted["network"] == counted["network48"] == sum(counts)
