"""Budgets in Redis: they agree with those in memory, hold under bursts from several processes, and outlive Redis."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import ClassVar, TypeAlias

import pytest
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

from tests.contract.test_guards_attempts import NeverFailing
from tests.fixtures.redis import RecordedBackoff, RedisServer, command
from tests.unit.guards.budget_model import CLAIMS, SMALL, machine
from tests.unit.guards.clock import HandClock
from tests.unit.guards.outcomes import fail
from velro_auth.errors import InvalidCredentials, Throttled
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, Claim, MemoryBudgets, Spent, Taken
from velro_auth.guards.codes import CodeBudget, FactorBudget
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.mails import MailBudget, SignUpLimit
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import StoreBackoff, connect

MakeShared: TypeAlias = Callable[..., RedisBudgets]
Pairs: TypeAlias = MultipleResults[tuple[Taken, Taken]] | tuple[Taken, Taken]

PROCESSES = 2
PARALLEL = 500
FACTOR = "5f8d1e0a-7c7e-4f0e-9d0b-0d6f6f1c2a3b"
_NUMBERS = itertools.count()


@pytest.fixture
def shared(redis_server: RedisServer) -> Iterator[MakeShared]:
    """Make budgets that nobody used, on the one server."""
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()

        def make(clock: HandClock, limits: BudgetLimits = SMALL, prefix: str = "") -> RedisBudgets:
            return RedisBudgets(
                client=client,
                limits=limits,
                fallback=MemoryBudgets(limits=limits, clock=clock),
                backoff=NeverFailing(clock=clock),
                prefix=prefix or f"budgets{next(_NUMBERS)}",
                clock=clock,
            )

        yield make


def test_redis_agrees_with_the_model_whatever_happens(shared: MakeShared) -> None:
    run_state_machine_as_test(
        machine(shared),
        settings=settings(max_examples=40, stateful_step_count=40, deadline=None),
    )


class TwinMachine(RuleBasedStateMachine):
    """The same steps for both, with a clock that jumps and limits that change."""

    taken: Bundle[tuple[Taken, Taken]] = Bundle("taken")

    make: ClassVar[MakeShared]

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.memory = MemoryBudgets(limits=SMALL, clock=self.clock)
        self.prefix = f"twin{next(_NUMBERS)}"
        self.redis = type(self).make(self.clock, SMALL, self.prefix)

    @rule(sevenths=st.one_of(st.integers(0, 700), st.integers(-8000, 8000)))
    def the_clock_moves(self, sevenths: int) -> None:
        """Backwards too, and by times that have no exact number."""
        self.clock.advance(sevenths / 7)

    @rule(target=taken, claims=st.sampled_from(CLAIMS))
    def somebody_takes(self, claims: Sequence[Claim]) -> Pairs:
        ours, theirs = self.memory.take(claims), self.redis.take(claims)

        if isinstance(ours, Spent) or isinstance(theirs, Spent):
            assert ours == theirs
            return multiple()
        return ours, theirs

    @rule(pair=consumes(taken))
    def it_is_given_back(self, pair: tuple[Taken, Taken]) -> None:
        ours, theirs = pair
        self.memory.give_back(ours)
        self.redis.give_back(theirs)

    @rule(scale=st.sampled_from([1, 2, 0.5]))
    def the_limits_change(self, scale: float) -> None:
        limits = SMALL.scaled(scale)
        self.memory = MemoryBudgets(limits=limits, clock=self.clock, logs=self.memory.logs)
        self.redis = type(self).make(self.clock, limits, self.prefix)

    @rule(name=st.sampled_from(["a", "b", "work"]))
    def the_operator_looks(self, name: str) -> None:
        shown = {status.key: list(status.used) for status in self.redis.show(name)}
        claims = {claim for claims in CLAIMS for claim in claims if name in claim.name.split(":")}
        used = {claim.key: list(self.memory.used(claim)) for claim in claims}

        assert shown == {key: counts for key, counts in used.items() if any(counts)}


def test_memory_and_redis_agree_number_for_number(shared: MakeShared) -> None:
    run_state_machine_as_test(
        type("Twins", (TwinMachine,), {"make": staticmethod(shared)}),
        settings=settings(max_examples=40, stateful_step_count=50, deadline=None),
    )


def test_budgets_expire_and_name_nobody(shared: MakeShared, redis_server: RedisServer) -> None:
    budgets, keyring = shared(HandClock(), BudgetLimits()), Keyring(b"secret")
    with pytest.raises(InvalidCredentials), CodeBudget(budgets=budgets, keyring=keyring).attempt("grace@example.com"):
        raise InvalidCredentials
    attempts = MemoryAttempts(limits=Limits())
    MailBudget(budgets=budgets, keyring=keyring, attempts=attempts).take("grace@example.com", "192.0.2.7")

    with redis_server.client() as client:
        keys = list(client.scan_iter())
        dump = b" ".join([*keys, *(client.dump(key) or b"" for key in keys)])
        assert len(keys) == 8
        assert all(0 < client.pttl(key) <= 86_400_000 for key in keys)
        assert not [word for word in (b"grace", b"example", b"192.0.2") if word in dump]


def test_a_budget_is_one_round_trip(shared: MakeShared, redis_server: RedisServer) -> None:
    budgets = shared(HandClock())
    budgets.take(CLAIMS[3])  # the script is loaded now

    with redis_server.client() as client:
        client.config_resetstat()
        budgets.take(CLAIMS[4])
        stats = client.info("commandstats")

    assert {name: stats[name]["calls"] for name in stats if "eval" in name} == {"cmdstat_evalsha": 1}


@pytest.mark.parametrize("kind", ["string", "list", "set", "hash"])
def test_keys_of_a_wrong_type_are_replaced(shared: MakeShared, redis_server: RedisServer, kind: str) -> None:
    """They would otherwise be a way to switch the budget of one account off."""
    budgets, claim = shared(HandClock()), Claim("mail_pair", "a")
    words = {"string": ("SET", "1"), "list": ("LPUSH", "1"), "set": ("SADD", "1"), "hash": ("HSET", "1", "1")}[kind]
    with redis_server.client() as client:
        command(client, words[0], budgets._key(claim), *words[1:])

    assert [type(budgets.take([claim])) for _ in range(3)] == [Taken, Spent, Spent]


def test_the_store_uses_its_own_clock_unless_told(redis_server: RedisServer) -> None:
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        budgets = RedisBudgets(
            client=client, limits=SMALL, fallback=MemoryBudgets(limits=SMALL), backoff=NeverFailing()
        )
        budgets.take([Claim("mail_pair", "a")])
        answer = budgets.take([Claim("mail_pair", "a")])

    assert isinstance(answer, Spent)
    assert 0 < answer.wait_s <= 64


def test_the_operator_sees_and_releases_an_account_and_a_network(shared: MakeShared) -> None:
    budgets = shared(HandClock())
    budgets.take([Claim("code", "a")])
    budgets.take(CLAIMS[3])

    assert [(status.kind, status.used) for status in budgets.show("a")] == [
        ("code", (1, 1)),
        ("mail_account", (1,)),
        ("mail_pair", (1,)),
    ]
    assert [status.wait_s for status in budgets.show("home")] == [64.0]
    assert budgets.release("a") == 3
    assert isinstance(budgets.take(CLAIMS[3]), Taken)
    assert budgets.show("nobody") == []


def test_a_killed_redis_leaves_each_process_its_share_and_grants_no_second_budget(own_redis: RedisServer) -> None:
    clock = HandClock()
    with connect(own_redis.url, timeout_s=0.25) as client:

        def process() -> CodeBudget:
            budgets = RedisBudgets(
                client=client,
                limits=BudgetLimits(),
                fallback=MemoryBudgets(limits=BudgetLimits().scaled(1 / 5), clock=clock),
                backoff=RecordedBackoff(clock=clock),
                clock=clock,
            )
            return CodeBudget(budgets=budgets, keyring=Keyring(b"secret"))

        first, *others = [process() for _ in range(5)]
        assert guesses(first, "a@example.com", 3) == 3
        own_redis.kill()

        assert guesses(first, "a@example.com", 50) == 0
        assert [guesses(other, "a@example.com", 50) for other in others] == [2] * 4
        assert guesses(first, "b@example.com", 50) == 2


def guesses(codes: CodeBudget, account: str, times: int) -> int:
    """Try wrong codes; return how many were let through."""
    tried = 0
    for _ in range(times):
        try:
            with codes.attempt(account):
                tried += 1
                fail()
        except (InvalidCredentials, Throttled):
            pass
    return tried


def test_redis_and_memory_agree_on_who_logged_in_before(redis_server: RedisServer) -> None:
    keyring, clock = Keyring(b"secret"), HandClock()
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        memory = MemoryAttempts(limits=Limits(), clock=clock)
        fallback = MemoryAttempts(limits=Limits(), clock=clock)
        shared = RedisAttempts(
            client=client, limits=Limits(), fallback=fallback, backoff=NeverFailing(clock=clock), clock=clock
        )
        callers = [keyring.caller(name, address) for name in "ab" for address in ("192.0.2.1", "198.51.100.1")]
        for attempts in (memory, shared, fallback):
            assert [tuple(attempts.knows(caller)) for caller in callers] == [(False, False)] * 4
        for attempts in (memory, shared):
            attempts.remember(callers[0])
        for attempts in (memory, shared, fallback):
            assert [tuple(attempts.knows(caller)) for caller in callers] == [
                (True, True),
                (False, False),
                (False, True),
                (False, False),
            ]
        clock.advance(Limits().known_s)
        for attempts in (memory, shared, fallback):
            assert [tuple(attempts.knows(caller)) for caller in callers] == [(False, False)] * 4


class Gateway:
    """One process that shares a Redis with others."""

    def __init__(self, url: str) -> None:
        # Patient, since two cores and five hundred threads are not what the timeout is for.
        client, backoff, keyring = connect(url, timeout_s=20.0), StoreBackoff(), Keyring(b"secret")
        share = 1 / PROCESSES
        attempts = RedisAttempts(
            client=client,
            limits=Limits(),
            fallback=MemoryAttempts(limits=Limits().scaled(share)),
            backoff=backoff,
        )
        budgets = RedisBudgets(
            client=client,
            limits=BudgetLimits(),
            fallback=MemoryBudgets(limits=BudgetLimits().scaled(share)),
            backoff=backoff,
        )
        self._codes = CodeBudget(budgets=budgets, keyring=keyring)
        self._factors = FactorBudget(budgets=budgets, keyring=keyring, attempts=attempts)
        self._mails = MailBudget(budgets=budgets, keyring=keyring, attempts=attempts)
        self._sign_ups = SignUpLimit(budgets=budgets, keyring=keyring)

    def code(self, number: int) -> None:
        with self._codes.attempt("ada@example.com"):
            raise InvalidCredentials

    def factor(self, number: int) -> None:
        with self._factors.attempt(FACTOR, "ada@example.com", f"10.0.{number % 250}.1"):
            raise InvalidCredentials

    def mail_to_one_address(self, number: int) -> None:
        self._mail("ada@example.com", number)

    def mail_to_many_addresses(self, number: int) -> None:
        self._mail(f"u{number}@example.com", number)

    def _mail(self, account: str, number: int) -> None:
        if not self._mails.take(account, f"10.{number // 250}.{number % 250}.1"):
            raise Throttled

    def sign_up(self, number: int) -> None:
        with self._sign_ups.attempt("192.0.2.1"):
            pass


#: What is tried → how many of five hundred get through. Strangers get 12 mails, and 4 of them went to one address.
EXPECTED = {"code": 10, "factor": 5, "mail_to_one_address": 4, "mail_to_many_addresses": 8, "sign_up": 30}


def _process(number: int, url: str, barrier: Barrier, reached: Queue[tuple[str, int]]) -> None:
    """One gateway process; it reports how many of its tries got through."""
    gateway = Gateway(url)
    for name in EXPECTED:
        barrier.wait(60)
        reached.put((name, _burst(getattr(gateway, name), number)))


def _burst(attempt: Callable[[int], None], process: int) -> int:
    let_through: list[int] = []
    share = PARALLEL // PROCESSES
    together = threading.Barrier(share)

    def run(number: int) -> None:
        together.wait(60)
        try:
            attempt(process * share + number)
        except Throttled:
            return
        except InvalidCredentials:
            pass
        let_through.append(1)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(share)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return len(let_through)


@pytest.mark.slow
def test_five_hundred_parallel_tries_from_two_processes_meet_exactly_each_budget(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.flushall()
    context = multiprocessing.get_context("spawn")
    barrier, reached = context.Barrier(PROCESSES), context.Queue()
    arguments = [(number, redis_server.url, barrier, reached) for number in range(PROCESSES)]
    processes = [context.Process(target=_process, args=each, daemon=True) for each in arguments]

    for process in processes:
        process.start()
    totals = dict.fromkeys(EXPECTED, 0)
    for _ in range(PROCESSES * len(EXPECTED)):
        name, count = reached.get(timeout=90)
        totals[name] += count
    for process in processes:
        process.join(10)

    assert totals == EXPECTED
