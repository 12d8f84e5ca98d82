"""Throttle, budgets, deny-list and refreshes decide alike in memory, on one server, behind Sentinel and in a cluster.

``VELRO_EXAMPLES=100 pytest -o timeout=3000 tests/contract/test_stores_agree.py`` plays longer.
"""

from __future__ import annotations

import os
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.contract import test_guards_attempts as attempts_twins
from tests.contract import test_guards_budgets as budgets_twins
from tests.contract.test_guards_attempts import NeverFailing
from tests.fixtures.denials import denials_of
from tests.fixtures.tokens import checked_claims
from tests.unit.guards import budget_model
from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import SMALL
from tests.waiting import eventually
from velro_auth.auth.denylist import MemoryDenyList, Scope
from velro_auth.auth.refresh import Outcome
from velro_auth.auth.tokens import Claims
from velro_auth.errors import UpstreamFailed
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.limits import Limits
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.stores.refresh import RedisSingleFlight

EXAMPLES = int(os.environ.get("VELRO_EXAMPLES", "8"))
STEPS = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)

#: The fixture of each kind of store.
GROUPS = {"single": "redis_server", "sentinel": "sentinel_group", "cluster": "cluster_group"}


@pytest.fixture(params=list(GROUPS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(GROUPS[kind]).url)


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    # More patient than the service, for machines that are busy with other tests.
    with connect(url, timeout_s=10.0) as client:
        yield client


def play(machine: type[RuleBasedStateMachine], **parts: Any) -> None:
    run_state_machine_as_test(type("Played", (machine,), parts), settings=STEPS)


class AttemptsTwins(attempts_twins.TwinMachine):
    """The clock only goes forward: in a cluster a refund can leave a time that is over, which means nothing then."""

    @rule(quarters=st.integers(0, 40_000))
    def the_clock_moves(self, quarters: int) -> None:
        self.clock.advance(quarters / 4)


def test_counted_tries(client: redis.Redis) -> None:
    def make(clock: HandClock, limits: Limits = SMALL, prefix: str = "") -> RedisAttempts:
        return RedisAttempts(
            client=client,
            limits=limits,
            fallback=MemoryAttempts(limits=limits, clock=clock),
            backoff=NeverFailing(clock=clock),
            prefix=f"{run}:{prefix}",
            clock=clock,
        )

    run = f"agree{secrets.token_hex(4)}"

    play(AttemptsTwins, make=staticmethod(make))


def test_budgets(client: redis.Redis) -> None:
    def make(clock: HandClock, limits: BudgetLimits = budget_model.SMALL, prefix: str = "") -> RedisBudgets:
        return RedisBudgets(
            client=client,
            limits=limits,
            fallback=MemoryBudgets(limits=limits, clock=clock),
            backoff=NeverFailing(clock=clock),
            prefix=f"{run}:{prefix}",
            clock=clock,
        )

    run = f"agree{secrets.token_hex(4)}"

    play(budgets_twins.TwinMachine, make=staticmethod(make))


class DenialsMachine(RuleBasedStateMachine):
    """Two processes that listen and one that only starts, beside a list in memory that hears of everything."""

    listening: ClassVar[list[RedisDenyList]]
    starting: ClassVar[RedisDenyList]

    def __init__(self) -> None:
        super().__init__()
        self.reference = MemoryDenyList()
        self.users = [str(uuid.uuid4()) for _ in range(2)]
        self.sessions = {user: [str(uuid.uuid4()) for _ in range(3)] for user in self.users}

    def claims(self, user: int, session: int, *, age_s: int = 100, aal: str = "aal1") -> Claims:
        now_s, sub = int(time.time()), self.users[user]
        return checked_claims(
            session_id=self.sessions[sub][session], sub=sub, issued_at=now_s - age_s, exp=now_s + 3500, aal=aal
        )

    @rule(
        process=st.integers(0, 1),
        user=st.integers(0, 1),
        session=st.integers(0, 2),
        scope=st.sampled_from(["local", "global", "others"]),
    )
    def somebody_logs_out(self, process: int, user: int, session: int, scope: Scope) -> None:
        denials = denials_of(self.claims(user, session), scope, now_s=time.time())
        self.reference.deny(denials)
        self.listening[process].deny(denials)

    @rule(process=st.integers(0, 1), user=st.integers(0, 1), session=st.integers(0, 2))
    def somebody_logs_in(self, process: int, user: int, session: int) -> None:
        """A new session in the second of a logout is exempt from it, in every process."""
        self.sessions[self.users[user]][session] = str(uuid.uuid4())
        claims, here = self.claims(user, session, age_s=0), self.listening[process]

        assert here.admits(claims, here.mark()) == self.reference.admits(claims, self.reference.mark())

    @rule()
    def all_agree(self) -> None:
        for user in range(2):
            for session in range(3):
                for age_s in (0, 100):
                    claims = self.claims(user, session, age_s=age_s)
                    expected = self.reference.denies(claims)
                    assert [one.denies(claims) for one in (*self.listening, self.starting)] == [expected] * 3


class NeverListening(RedisDenyList):
    """Asks Redis about each token."""

    def _keep_listening(self) -> None:
        pass


def test_ended_sessions(url: str) -> None:
    prefix = f"agree{secrets.token_hex(4)}"
    with ExitStack() as ends:

        def make(kind: type[RedisDenyList]) -> RedisDenyList:
            store = DenialsInRedis(client=ends.enter_context(connect(url, timeout_s=10.0)), prefix=prefix)
            made = kind(store=store, ack_s=20.0, heartbeat_s=5.0)
            ends.callback(made.close)
            return made

        listening = [make(RedisDenyList) for _ in range(2)]
        for one in listening:
            one.start()
        eventually(lambda: all(one.is_live for one in listening))

        play(DenialsMachine, listening=listening, starting=make(NeverListening))


class RelayMachine(RuleBasedStateMachine):
    """Three processes that refresh; the model is what each token gave first."""

    relays: ClassVar[list[RedisSingleFlight[dict[str, Any]]]]

    def __init__(self) -> None:
        super().__init__()
        self.tokens = [secrets.token_hex(8) for _ in range(3)]
        self.kept: dict[str, Outcome[dict[str, Any]]] = {}

    @rule(process=st.integers(0, 2), token=st.integers(0, 2), result=st.sampled_from(["answer", "over", "failure"]))
    def somebody_refreshes(self, process: int, token: int, result: str) -> None:
        name, calls = self.tokens[token], []

        def spend() -> Outcome[dict[str, Any]]:
            calls.append(result)
            if result == "failure":
                raise UpstreamFailed("for the test")
            return Outcome({"of": secrets.token_hex(4)}) if result == "answer" else Outcome(None, "used")

        if name not in self.kept and result == "failure":
            # Not kept: the next one asks Supabase.
            with pytest.raises(UpstreamFailed):
                self.relays[process].share(name, spend)
            assert calls == ["failure"]
            return
        outcome = self.relays[process].share(name, spend)
        if name in self.kept:
            assert (outcome, calls) == (self.kept[name], [])
        self.kept[name] = outcome


def test_refreshes(client: redis.Redis) -> None:
    prefix = f"agree{secrets.token_hex(4)}"
    relays = [
        RedisSingleFlight[dict[str, Any]](
            client=client,
            secret=b"a secret of the tests",
            dump=dict,
            load=dict,
            prefix=prefix,
            same_answer_s=3600,
            backoff=NeverFailing(),
        )
        for _ in range(3)
    ]

    play(RelayMachine, relays=relays)
