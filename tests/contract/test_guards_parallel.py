"""Bursts of truly parallel tries, from several processes: counted exactly."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest

from tests.fixtures.redis import RedisServer
from tests.unit.guards.outcomes import fail
from velro_auth.errors import InvalidCredentials
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.throttle import Throttle, TooManyAttempts
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff, connect

PROCESSES = 4
PARALLEL = 500
ROUNDS = 20
OWNER = ("owner@example.com", "203.0.113.7")


def _gateway(url: str) -> Throttle:
    # Patient, since two cores and five hundred threads are not what the timeout is for.
    client = connect(url, timeout_s=20.0)
    fallback = MemoryAttempts(limits=Limits().scaled(1 / PROCESSES))
    attempts = RedisAttempts(client=client, limits=Limits(), fallback=fallback, backoff=StoreBackoff())
    return Throttle(attempts=attempts, keyring=Keyring(b"secret"))


def _process(number: int, url: str, barrier: Barrier, reached: Queue[tuple[int, int]]) -> None:
    """One gateway process; for each round it reports how many guesses got through to Supabase."""
    throttle = _gateway(url)
    for attack in range(ROUNDS):
        barrier.wait(60)
        reached.put((attack, _burst(throttle, number, attack)))


def _burst(throttle: Throttle, number: int, attack: int) -> int:
    let_through: list[int] = []
    threads = PARALLEL // PROCESSES
    together = threading.Barrier(threads)

    def guess(thread: int) -> None:
        # Even rounds come from one network each, odd ones from hundreds.
        network = f"10.{attack}.0" if attack % 2 == 0 else f"10.{100 + number}.{thread}"
        together.wait(60)
        try:
            with throttle.attempt(f"victim{attack}@example.com", f"{network}.1"):
                let_through.append(1)
                fail()
        except (InvalidCredentials, TooManyAttempts):
            pass

    workers = [threading.Thread(target=guess, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    return len(let_through)


@pytest.mark.slow
def test_five_hundred_parallel_guesses_meet_exactly_the_limit_twenty_times(redis_server: RedisServer) -> None:
    """Counted after the answer instead of before the question, all five hundred would get through."""
    with redis_server.client() as client:
        client.flushall()
    context = multiprocessing.get_context("spawn")
    barrier, reached = context.Barrier(PROCESSES), context.Queue()
    arguments = [(number, redis_server.url, barrier, reached) for number in range(PROCESSES)]
    processes = [context.Process(target=_process, args=each, daemon=True) for each in arguments]

    for process in processes:
        process.start()
    totals = [0] * ROUNDS
    for _ in range(PROCESSES * ROUNDS):
        attack, count = reached.get(timeout=90)
        totals[attack] += count
    for process in processes:
        process.join(10)

    limits = Limits()
    assert totals == [limits.pair.free, limits.strangers.free] * (ROUNDS // 2)


def test_the_owner_logs_in_while_strangers_storm(redis_server: RedisServer) -> None:
    """From a network that logged in before: the storm has a budget of its own."""
    with redis_server.client() as client:
        client.flushall()
    throttle = _gateway(redis_server.url)
    account, home = OWNER
    with throttle.attempt(account, home):
        pass

    for stranger in range(200):
        with pytest.raises((InvalidCredentials, TooManyAttempts)), throttle.attempt(account, f"10.1.{stranger}.1"):
            raise InvalidCredentials

    with pytest.raises(TooManyAttempts), throttle.attempt(account, "10.9.9.9"):
        pass
    with throttle.attempt(account, home) as attempt:
        assert attempt.is_known
