"""Redis killed, hanging, flapping, full or empty again: logins go on, and guessing stays limited."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.fixtures.redis import RecordedBackoff, RedisServer
from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import KEYRING
from tests.unit.guards.outcomes import fail
from tests.waiting import eventually
from velro_auth.errors import InvalidCredentials
from velro_auth.guards.attempts import MemoryAttempts, Reservation
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.throttle import Throttle, TooManyAttempts
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import SharedStore, connect

REPLICAS = 5
TIMEOUT_S = 0.25


class Gateway:
    """One process of several that share a Redis; it counts the guesses that reach Supabase."""

    def __init__(self, server: RedisServer, clock: HandClock) -> None:
        self.clock = clock
        self.backoff = RecordedBackoff(clock=clock)
        client = connect(server.url, timeout_s=TIMEOUT_S)
        self._client = client
        attempts = RedisAttempts(
            client=client,
            limits=Limits(),
            fallback=MemoryAttempts(limits=Limits().scaled(1 / REPLICAS), clock=clock),
            backoff=self.backoff,
            clock=clock,
        )
        self.throttle = Throttle(attempts=attempts, keyring=Keyring(b"secret"))

    @property
    def degraded(self) -> list[bool]:
        """The changes so far: True when the store failed, False when it worked again."""
        return self.backoff.changes

    def guess(self, times: int, *, account: str = "a@example.com", address: str = "192.0.2.1") -> int:
        """Try wrong passwords; return how many were really tried."""
        tried = 0
        for _ in range(times):
            try:
                with self.throttle.attempt(account, address):
                    tried += 1
                    fail()
            except (InvalidCredentials, TooManyAttempts):
                pass
        return tried

    def log_in(self, *, account: str = "a@example.com", address: str = "192.0.2.1") -> bool:
        """Log in with the right password; return whether the pair was known."""
        with self.throttle.attempt(account, address) as attempt:
            return attempt.is_known

    def close(self) -> None:
        self._client.close()


MakeGateway = Callable[[], Gateway]


@pytest.fixture
def make_gateway(own_redis: RedisServer) -> Iterator[MakeGateway]:
    gateways: list[Gateway] = []

    def make() -> Gateway:
        gateways.append(Gateway(own_redis, HandClock()))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.close()


def test_a_killed_store_leaves_each_process_its_share(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    """Ten guesses at once are allowed; five processes alone allow two each, and one from each pair."""
    gateways = [make_gateway() for _ in range(REPLICAS)]
    own_redis.kill()

    tried = sum(gateway.guess(50, address=f"198.51.{number}.1") for gateway in gateways for number in range(20))

    assert tried == Limits().strangers.free


def test_a_change_is_told_once_and_a_working_store_is_used_again(
    make_gateway: MakeGateway, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = make_gateway()
    gateway.guess(1)
    own_redis.kill()

    with caplog.at_level(logging.WARNING, "velro_auth.guards"):
        gateway.guess(20)
        assert (gateway.degraded, len(caplog.records)) == ([True], 1)
        own_redis.start()
        gateway.clock.advance(60)
        gateway.guess(1, account="other@example.com")

    assert (gateway.degraded, len(caplog.records)) == ([True, False], 2)
    with own_redis.client() as client:
        assert client.dbsize() > 0


def test_a_known_pair_stays_known_without_the_store(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    gateway = make_gateway()
    gateway.log_in()
    own_redis.kill()
    gateway.guess(50, address="203.0.113.1")

    assert gateway.log_in()


def test_a_store_that_comes_and_goes_grants_no_second_budget(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    """What Redis allowed is noted in memory too, so its death opens nothing."""
    gateway = make_gateway()
    tried = gateway.guess(50)
    assert tried == Limits().pair.free

    for _ in range(5):
        own_redis.kill()
        gateway.clock.advance(0.5)
        tried += gateway.guess(50)

    assert tried == Limits().pair.free


def test_a_hanging_store_is_waited_for_once(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    """Twenty milliseconds at most are added once it was noticed; the promise is for the 95th percentile."""
    gateway = make_gateway()
    gateway.guess(1)
    own_redis.pause()
    try:
        noticed_s = _took_s(lambda: gateway.guess(1, account="first@example.com"))
        accounts = [f"{number}@example.com" for number in range(100)]
        later_s = sorted(_took_s(partial(gateway.guess, 1, account=account)) for account in accounts)
    finally:
        own_redis.resume()

    assert TIMEOUT_S <= noticed_s < 2 * TIMEOUT_S
    assert later_s[95] < 0.020


def _took_s(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def test_a_full_store_is_a_failing_store(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    gateway = make_gateway()
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")

        tried = gateway.guess(50)

        assert (tried, gateway.degraded) == (Limits().pair.scaled(1 / REPLICAS).free, [True])
        client.config_set("maxmemory", "0")
    gateway.clock.advance(2)
    gateway.guess(1)
    assert gateway.degraded == [True, False]


def test_a_restarted_store_needs_nobody_to_load_the_script(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    gateway = make_gateway()
    gateway.guess(1)
    with own_redis.client() as client:
        client.script_flush()

    gateway.guess(1)

    assert gateway.degraded == []


def test_an_outcome_that_finds_no_store_raises_nothing(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    gateway = make_gateway()

    with gateway.throttle.attempt("a@example.com", "192.0.2.1"):
        own_redis.kill()

    assert gateway.degraded == [True]
    assert gateway.log_in(), "remembered in memory"


def test_an_address_that_is_no_redis_is_a_failing_store(make_gateway: MakeGateway, own_redis: RedisServer) -> None:
    own_redis.kill()
    own_redis.socket.mkdir()
    try:
        assert make_gateway().guess(50) == 1
    finally:
        own_redis.socket.rmdir()


def test_a_redis_that_loses_everything_twice_in_a_row_allows_no_further_guess(own_redis: RedisServer) -> None:
    """What was counted again is among its newest tries, so it counts once more."""
    store = SharedStore.of(own_redis.url, prefix="velro:test")
    assert store.client is not None
    attempts = RedisAttempts(
        client=store.client,
        limits=Limits(),
        fallback=MemoryAttempts(limits=Limits()),
        backoff=store.counters,
        recent=store.recent,
    )
    networks = itertools.count()

    def guess(times: int) -> int:
        callers = [KEYRING.caller("a@example.com", f"10.0.{next(networks)}.1") for _ in range(times)]
        return sum(isinstance(attempts.begin(caller), Reservation) for caller in callers)

    def is_counted_again() -> bool:
        return not store.is_degraded() and store.recent.recoveries == store.counters.recoveries

    try:
        tried = guess(14)
        for _ in range(2):
            own_redis.kill()
            tried += guess(1)
            own_redis.start()
            eventually(is_counted_again)
        tried += guess(14)
    finally:
        store.close()
        store.client.close()

    assert tried == Limits().strangers.free
