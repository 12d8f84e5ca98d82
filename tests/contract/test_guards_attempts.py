"""The counters in Redis keep the same promise as those in memory, number for number."""

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
from tests.unit.guards.ledger import AROUND, KEYRING, SMALL, machine
from velro_auth.guards.attempts import Refusal, Ticket
from velro_auth.guards.limits import Limits
from velro_auth.guards.memory import MemoryAttempts
from velro_auth.stores.attempts import RedisAttempts, connect
from velro_auth.stores.backoff import StoreBackoff

MakeShared: TypeAlias = Callable[..., RedisAttempts]
Tickets: TypeAlias = MultipleResults[tuple[Ticket, Ticket]] | tuple[Ticket, Ticket]


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
                rest=StoreBackoff(clock=clock, on_degraded=_must_not_happen),
                prefix=prefix or f"test{next(numbers)}:",
                clock=clock,
            )

        yield make


def _must_not_happen(degraded: float) -> None:
    raise AssertionError("Redis was given up")


def test_redis_keeps_the_promise_whatever_happens(shared: MakeShared) -> None:
    run_state_machine_as_test(
        machine(shared),
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )


_TWINS = itertools.count()


class TwinMachine(RuleBasedStateMachine):
    """The same steps for both, with outcomes that arrive late and in any order."""

    tickets: Bundle[tuple[Ticket, Ticket]] = Bundle("tickets")

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
        target=tickets,
        account=st.sampled_from("abcd"),
        network=st.sampled_from(sorted(AROUND)),
        is_opened=st.booleans(),
    )
    def somebody_tries(self, account: str, network: str, *, is_opened: bool) -> Tickets:
        caller = KEYRING.caller(account, network)

        ours, theirs = (attempts.begin(caller, is_opened=is_opened) for attempts in (self.memory, self.redis))

        if isinstance(ours, Refusal) or isinstance(theirs, Refusal):
            assert ours == theirs
            return multiple()
        assert dataclasses.replace(theirs, shadow=None, earlier=ours.earlier) == ours
        return ours, theirs

    @rule(pair=consumes(tickets), succeeded=st.booleans())
    def an_outcome_arrives(self, pair: tuple[Ticket, Ticket], *, succeeded: bool) -> None:
        ours, theirs = pair
        self.memory.settle(ours, succeeded=succeeded)
        self.redis.settle(theirs, succeeded=succeeded)

    @rule(pair=consumes(tickets))
    def a_solution_is_wrong(self, pair: tuple[Ticket, Ticket]) -> None:
        """The try stays counted for its network."""
        ours, theirs = pair
        self.memory.settle(ours.but_for("network"), succeeded=False)
        self.redis.settle(theirs.but_for("network"), succeeded=False)

    @rule(scale=st.sampled_from([1, 2, 0.5]))
    def the_limits_change(self, scale: float) -> None:
        limits = SMALL.scaled(scale)
        self.memory = MemoryAttempts(limits=limits, clock=self.clock, counters=self.memory.counters)
        self.redis = type(self).make(self.clock, limits, self.prefix)

    @rule(account=st.sampled_from("ab"), network=st.sampled_from(sorted(AROUND)))
    def the_operator_looks(self, account: str, network: str) -> None:
        caller = KEYRING.caller(account, network)
        for named in ({"account": caller.account}, {"network": caller.network, "wider": caller.wider}):
            ours, theirs = (
                {standing.key: (standing.streak, standing.wait_s) for standing in attempts.show(**named)}
                for attempts in (self.memory, self.redis)
            )
            assert ours == theirs

    @rule(account=st.sampled_from("ab"))
    def the_operator_releases(self, account: str) -> None:
        key = KEYRING.account(account)
        assert self.memory.release(account=key) == self.redis.release(account=key)

    @rule(network=st.sampled_from(sorted(AROUND)))
    def the_operator_releases_a_network(self, network: str) -> None:
        caller = KEYRING.caller("a", network)
        ours, theirs = (
            attempts.release(network=caller.network, wider=caller.wider) for attempts in (self.memory, self.redis)
        )
        assert ours == theirs


def test_memory_and_redis_agree_number_for_number(shared: MakeShared) -> None:
    """Interleaved outcomes and a clock that jumps: where a plain ledger has no opinion, both still agree."""
    run_state_machine_as_test(
        type("Twins", (TwinMachine,), {"make": staticmethod(shared)}),
        settings=settings(max_examples=60, stateful_step_count=50, deadline=None),
    )


def test_counters_expire_and_name_nobody(shared: MakeShared, redis_server: RedisServer) -> None:
    """A dump of the store tells neither who tried nor from where."""
    attempts = shared(HandClock())

    attempts.begin(KEYRING.caller("ada@example.com", "192.0.2.7"))
    ticket = attempts.begin(KEYRING.caller("grace@example.com", "198.51.100.7"))
    assert isinstance(ticket, Ticket)
    attempts.settle(ticket, succeeded=True)

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
        name = attempts._prefix + caller.key("pair")
        client.hset(name, mapping={"full_until": value, "streak": "2", "last": value})

    answer = attempts.begin(caller)

    if isinstance(answer, Refusal):
        assert answer.wait_s <= SMALL.pair.idle_s
        clock.advance(answer.wait_s)
        answer = attempts.begin(caller)
    assert isinstance(answer, Ticket)


@pytest.mark.parametrize("kind", ["string", "list", "set"])
def test_keys_of_a_wrong_type_are_replaced(shared: MakeShared, redis_server: RedisServer, kind: str) -> None:
    """They would otherwise be a way to switch the throttle off for one account."""
    attempts, caller = shared(HandClock()), KEYRING.caller("a", "10.0.1.7")
    with redis_server.client() as client:
        for scope in ("pair", "strangers", "network", "account", "known"):
            _spoil(client, attempts._prefix + caller.key(scope), kind)

    answers = [attempts.begin(caller) for _ in range(20)]

    assert [type(answer) for answer in answers] == [Ticket] * 3 + [Refusal] * 17


def _spoil(client: redis.Redis, key: str, kind: str) -> None:
    command = {"string": "SET", "list": "LPUSH", "set": "SADD"}[kind]
    client.execute_command(command, key, "1")  # type: ignore[no-untyped-call]


def test_the_store_uses_its_own_clock_unless_told(redis_server: RedisServer) -> None:
    """One clock for all gateways: their skew cannot matter."""
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        fallback = MemoryAttempts(limits=SMALL)
        attempts = RedisAttempts(client=client, limits=SMALL, fallback=fallback, rest=StoreBackoff())

        ticket = attempts.begin(KEYRING.caller("a", "10.0.1.7"))

        assert isinstance(ticket, Ticket)
        assert abs(ticket.stamp - client.time()[0]) <= 2


def test_the_operator_releases_an_account_and_a_network(shared: MakeShared) -> None:
    attempts, caller = shared(HandClock()), KEYRING.caller("a", "10.0.1.7")
    while isinstance(attempts.begin(caller), Ticket):
        pass

    assert attempts.release(account=caller.account) == 3
    assert isinstance(attempts.begin(caller), Ticket)
    assert attempts.release(network=caller.network) == 2
    assert attempts.show(network=caller.network) == []
