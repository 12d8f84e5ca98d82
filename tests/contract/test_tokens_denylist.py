"""The deny-list between processes, with a real Redis or Valkey."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.denials import denials_of
from tests.fixtures.redis import RedisServer
from tests.fixtures.tokens import checked_claims
from tests.waiting import eventually
from velro_auth.auth.denylist import MemoryDenyList, end_of_lower_sessions
from velro_auth.auth.tokens import Claims
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis, read_message

#: Where another process finds the tests' own modules.
ROOT = Path(__file__).parents[2]

MakeList = Callable[[], RedisDenyList]


def session(number: int) -> Claims:
    return checked_claims(
        session_id=f"{number:08}-0000-4000-8000-000000000000",
        sub=f"{number:08}-1111-4111-8111-111111111111",
        issued_at=int(time.time()) - 100,
        exp=int(time.time()) + 3500,
    )


def log_out(denied: RedisDenyList, claims: Claims) -> None:
    denied.deny(denials_of(claims, "local", now_s=time.time()))


@pytest.fixture
def make_list(own_redis: RedisServer) -> Iterator[MakeList]:
    """Return a function that makes what one process would have: its own client, memory and listener."""
    with ExitStack() as ends:

        def make() -> RedisDenyList:
            # More patient than the defaults, for machines that are busy with other tests.
            client = ends.enter_context(connect(own_redis.url, timeout_s=1.0))
            denied = RedisDenyList(
                store=DenialsInRedis(client=client),
                memory=MemoryDenyList(),
                ack_s=5.0,
                heartbeat_s=0.2,
            )
            ends.callback(denied.close)
            return denied

        yield make


@pytest.fixture
def here(make_list: MakeList) -> RedisDenyList:
    return make_list()


@pytest.fixture
def there(make_list: MakeList) -> RedisDenyList:
    return make_list()


def test_a_logout_is_known_everywhere_when_it_returns(here: RedisDenyList, there: RedisDenyList) -> None:
    """Two hundred times, without a pause in between: the very next look has to find it."""
    for denied in (here, there):
        denied.start()
    eventually(lambda: here.is_live and there.is_live)

    for number in range(200):
        log_out(here, session(number))
        assert there._memory.denies(session(number))
        assert not there.denies(session(number + 1))


def test_a_process_that_only_starts_asks_redis(here: RedisDenyList, there: RedisDenyList) -> None:
    log_out(here, session(1))

    assert there.denies(session(1))
    assert not there.denies(session(2))


def test_a_process_that_starts_later_learns_the_list(here: RedisDenyList, there: RedisDenyList) -> None:
    for number in range(1200):
        here._memory.deny(denials_of(session(number), "local", now_s=time.time()))
    here._store.write(here._memory.current())

    there.start()
    eventually(lambda: there.is_live)

    assert len(there._memory.current()) == 1200


def test_a_listener_needs_no_round_trip(here: RedisDenyList, own_redis: RedisServer) -> None:
    here.start()
    eventually(lambda: here.is_live)
    with own_redis.client() as client:
        before = client.info("commandstats")

        for number in range(1000):
            here.denies(session(number))

        after = client.info("commandstats")
    assert after.get("cmdstat_mget") == before.get("cmdstat_mget")


def test_redis_stopped_and_started_again_loses_no_logout(
    here: RedisDenyList, there: RedisDenyList, own_redis: RedisServer
) -> None:
    """It comes back empty: nothing is written to its disk."""
    for denied in (here, there):
        denied.start()
    eventually(lambda: here.is_live and there.is_live)
    log_out(here, session(1))

    own_redis.kill()
    log_out(here, session(2))
    assert here.denies(session(2))
    assert there.denies(session(1))
    assert not there.denies(session(2))
    own_redis.start()

    eventually(lambda: here.is_live and there.is_live)
    eventually(lambda: there.denies(session(2)))
    assert here.denies(session(1))
    with own_redis.client() as client:
        assert client.zcard("velro:denials") == 2


def test_while_redis_is_down_nothing_takes_long(here: RedisDenyList, own_redis: RedisServer) -> None:
    own_redis.kill()

    started_s = time.perf_counter()
    for number in range(1000):
        assert not here.denies(session(number))
    log_out(here, session(5))

    assert here.denies(session(5))
    assert time.perf_counter() - started_s < 2


def test_a_redis_that_hangs_is_noticed(here: RedisDenyList, there: RedisDenyList, own_redis: RedisServer) -> None:
    """Its connections stay open and silent, so only the heartbeat tells."""
    for denied in (here, there):
        denied.start()
    eventually(lambda: here.is_live and there.is_live)

    own_redis.pause()
    eventually(lambda: not there.is_live)
    log_out(here, session(1))
    assert here.denies(session(1))
    own_redis.resume()

    eventually(lambda: there.denies(session(1)))


def test_a_hanging_redis_holds_up_hardly_anybody(here: RedisDenyList, own_redis: RedisServer) -> None:
    """While it hangs one look in a while pays the timeout (a second here), and none of the others waits with it."""
    here.start()
    eventually(lambda: here.is_live)
    own_redis.pause()
    try:
        eventually(lambda: not here.is_live)
        with ThreadPoolExecutor(8) as pool:
            took_s = list(pool.map(lambda number: look_s(here, number), range(400)))
    finally:
        own_redis.resume()

    assert sum(took > 0.5 for took in took_s) <= 400 // 20
    assert sorted(took_s)[380] < 0.020


def look_s(denied: RedisDenyList, number: int) -> float:
    """Return how long one look takes; one every ten milliseconds."""
    time.sleep(0.08)
    started_s = time.perf_counter()
    assert not denied.denies(session(number))
    return time.perf_counter() - started_s


def test_what_is_no_news_is_ignored(here: RedisDenyList, own_redis: RedisServer) -> None:
    here.start()
    eventually(lambda: here.is_live)

    with own_redis.client() as client:
        for junk in (b"", b"\xff", b"[]", b'{"id": 1}', b'{"id": "x", "denials": [{"subject": "y", "evil": 1}]}'):
            client.publish("velro:denials:news", junk)
        client.set("velro:denied:user:" + session(9).sub, b"junk")
        client.set("velro:denied:session:" + session(9).session_id, b"\xff")
    log_out(here, session(1))

    assert here.denies(session(1))
    assert here.is_live
    assert here._store.read_for(session(9)) == []
    assert read_message(b"junk") == ("", [])


def test_an_index_that_somebody_wrote_over_is_replaced(
    here: RedisDenyList, there: RedisDenyList, own_redis: RedisServer
) -> None:
    """Otherwise every process would take Redis for broken, for good: one key switches off what they share."""
    for denied in (here, there):
        denied.start()
    eventually(lambda: here.is_live and there.is_live)
    log_out(here, session(1))
    with own_redis.client() as client:
        client.set("velro:denials", "nonsense")

    log_out(here, session(2))

    assert there._memory.denies(session(2))
    assert [denial.subject for denial in here._store.read_all()] == ["session:" + session(2).session_id]
    with own_redis.client() as client:
        client.set("velro:denials", "nonsense")
        client.client_kill_filter(_type="pubsub")
    eventually(lambda: len(here._store.read_all()) == 2)


def test_entries_expire_by_themselves(here: RedisDenyList, own_redis: RedisServer) -> None:
    log_out(here, session(1))

    with own_redis.client() as client:
        keys = list(client.scan_iter("velro:denied:*"))
        assert keys
        assert all(0 < client.pttl(key) <= 3_631_000 for key in keys)


#: Another process: says when it is live, then answers one line per session id it is given.
CHILD = """
import sys, time
from tests.contract.test_tokens_denylist import session
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis
denied = RedisDenyList(store=DenialsInRedis(client=connect(sys.argv[1])))
denied.start()
while not denied.is_live:
    time.sleep(0.001)
print("live", flush=True)
for line in sys.stdin:
    print(denied.denies(session(int(line))), flush=True)
denied.close()
"""


def test_the_next_request_in_another_process_is_refused(here: RedisDenyList, own_redis: RedisServer) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, own_redis.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "live\n"
        here.start()
        answers = []
        for number in range(100):
            log_out(here, session(number))
            child.stdin.write(f"{number}\n{number + 1}\n")
            child.stdin.flush()
            answers.append((child.stdout.readline().strip(), child.stdout.readline().strip()))
        child.stdin.close()

    assert answers == [("True", "False")] * 100
    assert child.returncode == 0


def test_a_denial_is_written_as_plain_json(here: RedisDenyList, own_redis: RedisServer) -> None:
    """Session ids are no secrets, and an operator may want to look."""
    log_out(here, session(1))

    with own_redis.client() as client:
        value = client.get("velro:denied:session:" + session(1).session_id)
    assert isinstance(value, bytes)
    assert json.loads(value)["subject"] == "session:" + session(1).session_id


def test_a_step_up_is_known_everywhere(here: RedisDenyList, there: RedisDenyList, make_list: MakeList) -> None:
    """Of a process that listens, and of one that only starts."""
    own = replace(session(1), aal="aal1")
    other = replace(own, session_id=session(2).session_id)
    assert not there.denies(other)
    eventually(lambda: there.is_live)

    here.deny([end_of_lower_sessions(own, at_s=time.time(), until_s=time.time() + 60)])

    for process in (here, there, make_list()):
        assert process.denies(other)
        assert not process.denies(own)
        assert not process.denies(replace(other, aal="aal2"))
    # A login after it is good in every process.
    new = replace(own, session_id=session(3).session_id, issued_at=int(time.time()))
    assert here.admits(new, here.mark())
    assert not there.denies(new)
