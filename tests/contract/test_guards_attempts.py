"""The counters in Redis agree with the model and with those in memory, number for number."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeAlias

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.fixtures.redis import RedisServer
from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import AROUND, KEYRING, SMALL, machine, statuses
from velro_auth.guards.attempts import MemoryAttempts, Refusal, Reservation
from velro_auth.guards.keys import Caller
from velro_auth.guards.limits import Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff, connect

MakeShared: TypeAlias = Callable[..., RedisAttempts]
Reservations: TypeAlias = MultipleResults[tuple[Reservation, Reservation]] | tuple[Reservation, Reservation]


@pytest.fixture
def shared(redis_server: RedisServer) -> Iterator[MakeShared]:
    """Make counters that start empty, on the one server."""
    numbers = itertools.count()
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()

        def make(clock: HandClock, limits: Limits = SMALL, prefix: str = "") -> RedisAttempts:
            return RedisAttempts(
                client=client,
                limits=limits,
                fallback=MemoryAttempts(limits=limits, clock=clock),
                backoff=NeverFailing(clock=clock),
                prefix=prefix or f"test{next(numbers)}:",
                clock=clock,
            )

        yield make


class NeverFailing(StoreBackoff):
    """Fails the test when Redis fails."""

    def failed(self, error: Exception) -> None:
        raise AssertionError("Redis failed") from error


def test_redis_agrees_with_the_model_whatever_happens(shared: MakeShared) -> None:
    run_state_machine_as_test(
        machine(shared),
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )


_TWINS = itertools.count()


class TwinMachine(RuleBasedStateMachine):
    """The same steps for both, with outcomes that arrive late and in any order."""

    reservations: Bundle[tuple[Reservation, Reservation]] = Bundle("reservations")

    make: ClassVar[MakeShared]

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.memory = MemoryAttempts(limits=SMALL, clock=self.clock)
        self.prefix = f"twin{next(_TWINS)}:"
        self.redis = type(self).make(self.clock, SMALL, self.prefix)

    @rule(quarters=st.one_of(st.integers(0, 400), st.integers(-8000, 36000)))
    def the_clock_moves(self, quarters: int) -> None:
        """Backwards too: a store's clock may be set."""
        self.clock.advance(quarters / 4)

    @rule(
        target=reservations,
        account=st.sampled_from("abcd"),
        network=st.sampled_from(sorted(AROUND)),
        has_solved=st.booleans(),
    )
    def somebody_tries(self, account: str, network: str, *, has_solved: bool) -> Reservations:
        caller = KEYRING.caller(account, network)

        ours, theirs = (attempts.begin(caller, has_solved=has_solved) for attempts in (self.memory, self.redis))

        if isinstance(ours, Refusal) or isinstance(theirs, Refusal):
            assert ours == theirs
            return multiple()
        assert dataclasses.replace(theirs, in_memory=None, previous=ours.previous) == ours
        return ours, theirs

    @rule(pair=consumes(reservations), succeeded=st.booleans())
    def an_outcome_arrives(self, pair: tuple[Reservation, Reservation], *, succeeded: bool) -> None:
        ours, theirs = pair
        self.memory.settle(ours, succeeded=succeeded)
        self.redis.settle(theirs, succeeded=succeeded)

    @rule(pair=consumes(reservations))
    def a_solution_is_wrong(self, pair: tuple[Reservation, Reservation]) -> None:
        """The try stays counted for its network."""
        ours, theirs = pair
        self.memory.settle(ours.without("network"), succeeded=False)
        self.redis.settle(theirs.without("network"), succeeded=False)

    @rule(scale=st.sampled_from([1, 2, 0.5]))
    def the_limits_change(self, scale: float) -> None:
        limits = SMALL.scaled(scale)
        self.memory = MemoryAttempts(limits=limits, clock=self.clock, counters=self.memory.counters)
        self.redis = type(self).make(self.clock, limits, self.prefix)

    @rule(account=st.sampled_from("ab"), network=st.sampled_from(sorted(AROUND)))
    def the_operator_looks(self, account: str, network: str) -> None:
        caller = KEYRING.caller(account, network)
        for names in ([caller.account], [caller.network, *caller.wider]):
            assert statuses(self.memory, *names) == statuses(self.redis, *names)

    @rule(account=st.sampled_from("ab"))
    def the_operator_releases(self, account: str) -> None:
        key = KEYRING.account(account)
        assert self._release_in_memory(key) == self.redis.release(key)

    @rule(network=st.sampled_from(sorted(AROUND)))
    def the_operator_releases_a_network(self, network: str) -> None:
        caller = KEYRING.caller("a", network)
        names = (caller.network, *caller.wider)
        assert self._release_in_memory(*names) == self.redis.release(*names)

    def _release_in_memory(self, *names: str) -> int:
        found = statuses(self.memory, *names)
        for key in found:
            del self.memory._tables[key.partition(":")[0]]._records[key]
        return len(found)


def test_memory_and_redis_agree_number_for_number(shared: MakeShared) -> None:
    """Interleaved outcomes and a clock that jumps: where the model has no answer, both still agree."""
    run_state_machine_as_test(
        type("Twins", (TwinMachine,), {"make": staticmethod(shared)}),
        settings=settings(max_examples=60, stateful_step_count=50, deadline=None),
    )


def test_counters_expire_and_name_nobody(shared: MakeShared, redis_server: RedisServer) -> None:
    """A dump of the store tells neither who tried nor from where."""
    attempts = shared(HandClock())

    attempts.begin(KEYRING.caller("ada@example.com", "192.0.2.7"))
    reservation = attempts.begin(KEYRING.caller("grace@example.com", "198.51.100.7"))
    assert isinstance(reservation, Reservation)
    attempts.settle(reservation, succeeded=True)

    with redis_server.client() as client:
        keys = list(client.scan_iter())
        dump = b" ".join([*keys, *(client.dump(key) or b"" for key in keys)])
        assert len(keys) >= 6
        assert all(client.pttl(key) > 0 for key in keys)
        assert not [word for word in (b"ada", b"grace", b"example", b"192.0.2", b"198.51") if word in dump]


def test_a_try_is_one_round_trip(shared: MakeShared, redis_server: RedisServer) -> None:
    attempts, caller = shared(HandClock()), KEYRING.caller("a", "10.0.1.7")
    attempts.begin(caller)  # the script is loaded now

    with redis_server.client() as client:
        client.config_resetstat()
        attempts.begin(caller)
        stats = client.info("commandstats")

    sent = {name: stats[name]["calls"] for name in stats if name in {"cmdstat_evalsha", "cmdstat_eval"}}
    assert sent == {"cmdstat_evalsha": 1}


@pytest.mark.parametrize("value", ["nan", "inf", "-1e300", "1e300", "words", ""])
def test_nonsense_in_a_counter_locks_nobody_out_for_good(
    shared: MakeShared, redis_server: RedisServer, value: str
) -> None:
    clock = HandClock()
    attempts = shared(clock)
    caller = KEYRING.caller("a", "10.0.1.7")
    with redis_server.client() as client:
        name = attempts._keys.key(caller.account, caller.key("pair"))
        client.hset(name, mapping={"full_until": value, "streak": "2", "last": value})

    answer = attempts.begin(caller)

    if isinstance(answer, Refusal):
        assert answer.wait_s <= max(SMALL.pair.forget_s, SMALL.pair.burst * SMALL.pair.refill_s)
        clock.advance(answer.wait_s)
        answer = attempts.begin(caller)
    assert isinstance(answer, Reservation)


@pytest.mark.parametrize("kind", ["string", "list", "set"])
def test_keys_of_a_wrong_type_are_replaced(shared: MakeShared, redis_server: RedisServer, kind: str) -> None:
    """They would otherwise be a way to switch the throttle off for one account."""
    attempts, caller = shared(HandClock()), KEYRING.caller("a", "10.0.1.7")
    with redis_server.client() as client:
        for scope in ("pair", "strangers", "network", "account", "known"):
            _overwrite(client, attempts._keys.key(_tag(caller, scope), caller.key(scope)), kind)

    answers = [attempts.begin(caller) for _ in range(20)]

    assert [type(answer) for answer in answers] == [Reservation] * 3 + [Refusal] * 17


def _tag(caller: Caller, scope: str) -> str:
    """Return what is in the braces of a key."""
    return caller.network if scope == "network" else caller.account


def _overwrite(client: redis.Redis, key: str, kind: str) -> None:
    command = {"string": "SET", "list": "LPUSH", "set": "SADD"}[kind]
    client.execute_command(command, key, "1")  # type: ignore[no-untyped-call]


def test_the_store_uses_its_own_clock_unless_told(redis_server: RedisServer) -> None:
    """One clock for all gateways: their skew cannot matter."""
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        fallback = MemoryAttempts(limits=SMALL)
        attempts = RedisAttempts(client=client, limits=SMALL, fallback=fallback, backoff=StoreBackoff())

        reservation = attempts.begin(KEYRING.caller("a", "10.0.1.7"))

        assert isinstance(reservation, Reservation)
        assert abs(reservation.counted_at[0] - client.time()[0]) <= 2


def test_the_operator_releases_an_account_and_a_network(shared: MakeShared) -> None:
    attempts, caller = shared(HandClock()), KEYRING.caller("a", "10.0.1.7")
    while isinstance(attempts.begin(caller), Reservation):
        pass

    assert attempts.release(caller.account) == 3
    assert isinstance(attempts.begin(caller), Reservation)
    assert attempts.release(caller.network) == 2
    assert attempts.show(caller.network) == []
