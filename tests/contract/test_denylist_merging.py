"""Denials of one user that several processes write at once, with a real Redis or Valkey."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fixtures.denials import denials_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.tokens import USER_ID, checked_claims
from velro_auth.auth.denylist import Cutoff, Denial, MemoryDenyList, end_of_user
from velro_auth.auth.tokens import Claims
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis

THIEF = "11111111-1111-4111-8111-111111111111"
OWNER = "22222222-2222-4222-8222-222222222222"
NEXT = "33333333-3333-4333-8333-333333333333"


@pytest.fixture
def stores(own_redis: RedisServer) -> Iterator[list[DenialsInRedis]]:
    """Those of four processes."""
    with ExitStack() as ends:
        yield [DenialsInRedis(client=ends.enter_context(connect(own_redis.url, timeout_s=10.0))) for _ in range(4)]


def of(session_id: str, *, age_s: int = 6) -> Claims:
    now_s = int(time.time())
    return checked_claims(session_id=session_id, issued_at=now_s - age_s, exp=now_s + 3600)


def stored(store: DenialsInRedis) -> Denial:
    [denial] = [one for one in store.read_all() if one.subject == f"user:{USER_ID}"]
    return denial


def test_what_one_process_denied_another_cannot_lift(stores: list[DenialsInRedis]) -> None:
    """The thief's dead token spares itself, in a process that did not hear of the owner's logout."""
    here, there = stores[:2]
    here.write(denials_of(of(OWNER), "global", now_s=time.time() - 1))

    there.write(denials_of(of(THIEF), "others", now_s=time.time()))

    assert stored(here).covers(of(THIEF))
    assert stored(here).covers(of(OWNER))


def test_a_shorter_denial_does_not_shorten_a_longer_one(stores: list[DenialsInRedis], own_redis: RedisServer) -> None:
    subject, now_s = f"session:{OWNER}", time.time()
    stores[0].write([Denial(subject=subject, until_s=now_s + 1000)])
    stores[1].write([Denial(subject=subject, until_s=now_s + 10)])

    with own_redis.client() as client:
        assert client.pttl(f"velro:denied:{subject}") > 900_000
        assert client.zscore("velro:denials", subject) == now_s + 1000


def test_processes_that_write_at_once_lose_nothing(stores: list[DenialsInRedis]) -> None:
    """Each of these spares another session, so that each of them alone covers all the others."""
    sessions = [f"{number:08}-0000-4000-8000-000000000000" for number in range(48)]

    def write(number: int) -> None:
        at_s = time.time() - number
        denial = end_of_user(of(sessions[number]), "others", at_s=at_s, until_s=at_s + 3600)
        stores[number % len(stores)].write([denial])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(48)))

    denial = stored(stores[0])
    assert all(denial.covers(of(session, age_s=60)) for session in sessions)


def test_a_process_that_is_not_told_learns_of_a_login_after_a_logout(own_redis: RedisServer) -> None:
    """It has denied the user already, and must not go by that alone."""
    with ExitStack() as ends:
        here, there = (
            Silent(store=DenialsInRedis(client=ends.enter_context(connect(own_redis.url, timeout_s=10.0))))
            for _ in range(2)
        )
        there.deny(denials_of(of(OWNER), "global", now_s=time.time()))
        new = of(NEXT, age_s=0)
        assert there.denies(new)

        assert not here.admits(new, here.mark())
        assert here.admits(new, here.mark())

        assert not there.denies(new)
        assert not there.denies(of(NEXT, age_s=0))
        assert there.denies(of(THIEF))


class Silent(RedisDenyList):
    """Never gets as far as to listen."""

    def _keep_listening(self) -> None:
        pass


def test_an_entry_of_an_earlier_release_is_read(stores: list[DenialsInRedis], own_redis: RedisServer) -> None:
    """Or the sessions that were ended before an update would be good again."""
    until_s, now_s = time.time() + 3600, int(time.time())
    earlier = {"until_s": until_s, "issued_before_s": now_s, "spared_session": OWNER}
    with own_redis.client() as client:
        for subject, fields in (
            (f"session:{THIEF}", {**earlier, "issued_before_s": 2**53, "spared_session": ""}),
            (f"user:{USER_ID}", earlier),
        ):
            client.set(f"velro:denied:{subject}", json.dumps({"subject": subject, **fields}))

    denied = MemoryDenyList()
    denied.deny(stores[0].read_for(of(THIEF)))

    assert denied.denies(of(THIEF, age_s=0))
    assert denied.denies(of(NEXT, age_s=1))
    assert not denied.denies(of(NEXT, age_s=0))
    assert not denied.denies(of(OWNER))


def test_what_is_written_is_read(stores: list[DenialsInRedis]) -> None:
    cut = Cutoff(name="one", at_s=7, exempt=(OWNER, NEXT), replaces=("three", "two"))
    denial = Denial(subject=f"user:{USER_ID}", until_s=time.time() + 60, cutoffs=(cut,))

    stores[0].write([denial])

    assert stores[1].read_all() == [denial]


def test_an_acknowledgement_has_an_end_at_any_time(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may end, or lose Redis, after each command."""
    client = connect(own_redis.url)
    store = DenialsInRedis(client=client, prefix="velro:test")
    execute: Any = client.execute_command
    ends_in_ms: list[int] = []

    def look_after(*command: Any, **options: Any) -> Any:
        answer = execute(*command, **options)
        with own_redis.client() as other:
            ends_in_ms.append(other.pttl(store._ack("message")))
        return answer

    monkeypatch.setattr(client, "execute_command", look_after)
    store.acknowledge("message")

    assert store.acknowledged("message") == 1
    assert ends_in_ms
    assert min(ends_in_ms) > 0
