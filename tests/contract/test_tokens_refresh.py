"""One refresh for several processes, with a real Redis or Valkey."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.redis import RedisServer
from velro_auth.auth.refresh import Refreshes
from velro_auth.errors import (
    SessionExpired,
    SessionRefused,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    VelroAuthError,
)
from velro_auth.stores.client import connect
from velro_auth.stores.refresh import Envelope, RedisSingleFlight

#: Where another process finds the tests' own modules.
ROOT = Path(__file__).parents[2]

SECRET = b"known to the service's processes only"
TOKEN = "v1refreshtok"

Answer = dict[str, Any]
MakeProcess = Callable[..., Refreshes[Answer]]


def relay(url: str, **changes: Any) -> RedisSingleFlight[Answer]:
    given: dict[str, Any] = {"client": connect(url), "secret": SECRET, "dump": dict, "load": dict, **changes}
    return RedisSingleFlight(**given)


@pytest.fixture
def make_process(own_redis: RedisServer) -> Iterator[MakeProcess]:
    """Return a function that makes what one process would have."""
    with ExitStack() as ends:

        def make(**changes: Any) -> Refreshes[Answer]:
            client = ends.enter_context(connect(own_redis.url))
            return Refreshes(relay=relay(own_redis.url, client=client, **changes))

        yield make


class Upstream:
    """Answers with a new number each time, once it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> Answer:
        self.calls += 1
        self.started.set()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        return {"session": self.calls, "access_token": "canary-access", "refresh_token": "canary-refresh"}


def both(one: Refreshes[Answer], two: Refreshes[Answer], upstream: Upstream) -> list[Answer | VelroAuthError]:
    """Ask in both while the first call is under way; return what each got."""
    outcomes: list[Answer | VelroAuthError] = []

    def ask(refreshes: Refreshes[Answer]) -> None:
        try:
            outcomes.append(refreshes.refresh(TOKEN, upstream))
        except VelroAuthError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask, args=(refreshes,)) for refreshes in (one, two)]
    threads[0].start()
    assert upstream.started.wait(5)
    threads[1].start()
    time.sleep(0.1)
    upstream.go.set()
    for thread in threads:
        thread.join(10)
    return outcomes


def test_parallel_refreshes_in_two_processes_are_one(make_process: MakeProcess) -> None:
    upstream = Upstream()

    first, second = both(make_process(), make_process(), upstream)

    assert first == second
    assert upstream.calls == 1


def test_a_later_refresh_in_another_process_gets_the_same_answer(make_process: MakeProcess) -> None:
    upstream = Upstream()
    upstream.go.set()

    assert make_process().refresh(TOKEN, upstream) == make_process().refresh(TOKEN, upstream)
    assert upstream.calls == 1


def test_who_finds_an_answer_leaves_no_lock(make_process: MakeProcess, own_redis: RedisServer) -> None:
    """A lock that is kept would hold up every process, for seconds, once the answer is gone."""
    upstream = Upstream()
    upstream.go.set()
    make_process().refresh(TOKEN, upstream)

    make_process().refresh(TOKEN, upstream)

    with own_redis.client() as client:
        assert [key.decode().split(":")[4] for key in client.scan_iter()] == ["answer"]


def test_a_refusal_that_may_not_last_is_shared_by_those_who_waited_only(make_process: MakeProcess) -> None:
    one, two, upstream = make_process(), make_process(), Upstream(SessionRefused("a hook said no"))

    outcomes = both(one, two, upstream)

    assert [type(outcome) for outcome in outcomes] == [SessionRefused] * 2
    assert upstream.calls == 1
    upstream.error = None
    assert two.refresh(TOKEN, upstream)["session"] == 2


def test_after_ten_seconds_nothing_is_left(make_process: MakeProcess, own_redis: RedisServer) -> None:
    """Ten seconds shortened to a tenth."""
    upstream = Upstream()
    upstream.go.set()
    make_process(same_answer_s=0.1).refresh(TOKEN, upstream)

    time.sleep(0.15)

    with own_redis.client() as client:
        assert client.keys() == []
    assert make_process().refresh(TOKEN, upstream)["session"] == 2


def test_the_end_of_a_session_is_shared(make_process: MakeProcess) -> None:
    upstream = Upstream(SessionExpired("refresh_token_already_used"))

    outcomes = both(make_process(), make_process(), upstream)

    assert [(type(error), str(error)) for error in outcomes] == [(SessionExpired, "refresh_token_already_used")] * 2
    assert upstream.calls == 1


@pytest.mark.parametrize(
    "error",
    [UpstreamUnavailable("down"), UpstreamTimeout("slow"), UpstreamThrottled("slow down", retry_after_s=7)],
)
def test_trouble_is_shared_by_those_who_waited_and_forgotten(make_process: MakeProcess, error: VelroAuthError) -> None:
    one, two, upstream = make_process(), make_process(), Upstream(error)

    outcomes = both(one, two, upstream)

    assert [type(outcome) for outcome in outcomes] == [type(error)] * 2
    assert [outcome.retry_after_s for outcome in outcomes if isinstance(outcome, VelroAuthError)] == [
        error.retry_after_s
    ] * 2
    assert upstream.calls == 1
    upstream.error = None
    assert two.refresh(TOKEN, upstream)["session"] == 2


def test_after_a_defect_the_others_try_themselves(make_process: MakeProcess) -> None:
    """Nobody else can make sense of somebody's defect."""
    one, two, upstream = make_process(), make_process(), Upstream(ZeroDivisionError("a defect"))
    broken = threading.Thread(target=_expect_defect, args=(one, upstream))
    broken.start()
    assert upstream.started.wait(5)
    answers: list[Answer] = []
    healthy = Upstream()
    healthy.go.set()
    waiting = threading.Thread(target=lambda: answers.append(two.refresh(TOKEN, healthy)))
    waiting.start()
    time.sleep(0.1)
    upstream.go.set()
    broken.join(5)
    waiting.join(5)

    assert [answer["session"] for answer in answers] == [1]


def test_a_process_killed_on_the_way_holds_the_others_up_only_so_long(
    make_process: MakeProcess, own_redis: RedisServer
) -> None:
    """Its lock ends by itself."""
    name = Envelope.of(TOKEN, secret=SECRET).name
    with own_redis.client() as client:
        client.set(f"velro:v2:refresh:{{{name}}}:lock", "of a process that is no more", px=150)
    upstream = Upstream()
    upstream.go.set()

    assert make_process().refresh(TOKEN, upstream)["session"] == 1


def test_another_process_is_waited_for_only_so_long(make_process: MakeProcess, own_redis: RedisServer) -> None:
    name = Envelope.of(TOKEN, secret=SECRET).name
    with own_redis.client() as client:
        client.set(f"velro:v2:refresh:{{{name}}}:lock", "of a process that hangs", px=60_000)

    with pytest.raises(UpstreamTimeout):
        make_process(wait_s=0.1).refresh(TOKEN, Upstream())


def test_without_redis_the_token_is_spent_here(make_process: MakeProcess, own_redis: RedisServer) -> None:
    refreshes, upstream = make_process(), Upstream()
    upstream.go.set()
    own_redis.kill()

    assert refreshes.refresh(TOKEN, upstream)["session"] == 1


def test_redis_lost_on_the_way_costs_nobody_an_answer(make_process: MakeProcess, own_redis: RedisServer) -> None:
    one, two, upstream = make_process(), make_process(), Upstream()
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda process=process: answers.append(process.refresh(TOKEN, upstream)))
        for process in (one, two)
    ]
    threads[0].start()
    assert upstream.started.wait(5)
    threads[1].start()
    time.sleep(0.1)
    own_redis.kill()
    time.sleep(0.1)
    upstream.go.set()
    for thread in threads:
        thread.join(10)

    assert sorted(answer["session"] for answer in answers) in ([1, 2], [2, 2])


def test_redis_sees_neither_tokens_nor_answers(make_process: MakeProcess, own_redis: RedisServer) -> None:
    upstream = Upstream()
    upstream.go.set()
    make_process().refresh(TOKEN, upstream)

    with own_redis.client() as client:
        [key] = client.keys()
        value = client.get(key)
        assert 0 < client.pttl(key) <= 10_000
    assert isinstance(value, bytes)
    for secret in (TOKEN, "canary", "access_token", SECRET.decode()):
        assert secret.encode() not in bytes(key) + value


def test_an_answer_opens_with_the_token_and_the_secret_only() -> None:
    sealed = Envelope.of(TOKEN, secret=SECRET).seal({"answer": 1})

    assert Envelope.of(TOKEN, secret=SECRET).open(sealed) == {"answer": 1}
    for token, secret in ((TOKEN + "x", SECRET), (TOKEN, SECRET + b"x")):
        with pytest.raises(ValueError, match="not sealed"):
            Envelope.of(token, secret=secret).open(sealed)
    with pytest.raises(ValueError, match="not sealed"):
        Envelope.of(TOKEN, secret=SECRET).open(sealed[:-1])


def test_an_answer_that_cannot_be_read_is_none(make_process: MakeProcess, own_redis: RedisServer) -> None:
    """Written by another release, or by somebody who should not write there."""
    envelope, upstream = Envelope.of(TOKEN, secret=SECRET), Upstream()
    upstream.go.set()
    with own_redis.client() as client:
        for number, sealed in enumerate((b"junk", envelope.seal({}), envelope.seal({"answer": 5})), 1):
            client.set(f"velro:v2:refresh:{{{envelope.name}}}:answer", sealed)

            assert make_process().refresh(TOKEN, upstream)["session"] == number


def test_a_secret_that_can_be_guessed_is_refused(own_redis: RedisServer) -> None:
    with pytest.raises(ValueError, match="shorter than 16 bytes"):
        relay(own_redis.url, secret=b"short")


#: One process: ten threads refresh the same token at once. Its "Supabase" counts its calls in Redis.
CHILD = """
import json, sys, threading, time
from tests.contract.test_tokens_refresh import TOKEN, relay
from velro_auth.auth.refresh import Refreshes
from velro_auth.stores.client import connect
counter = connect(sys.argv[1])
refreshes = Refreshes(relay=relay(sys.argv[1]))
def upstream():
    calls = counter.incr("calls")
    time.sleep(0.2)
    return {"session": calls, "process": sys.argv[2]}
answers = []
start = threading.Barrier(11)
def ask():
    start.wait()
    answers.append(refreshes.refresh(TOKEN, upstream))
threads = [threading.Thread(target=ask) for _ in range(10)]
for thread in threads: thread.start()
print("ready", flush=True)
sys.stdin.readline()
start.wait()
for thread in threads: thread.join()
print(json.dumps(answers))
"""


def test_twenty_refreshes_in_two_processes_are_one_call(own_redis: RedisServer) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, own_redis.url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in ("one", "two")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    answers = [answer for child in children for answer in json.loads(child.communicate(timeout=20)[0])]

    with own_redis.client() as client:
        assert client.get("calls") == b"1"
    assert len(answers) == 20
    assert all(answer == answers[0] for answer in answers)


def _expect_defect(refreshes: Refreshes[Answer], upstream: Upstream) -> None:
    with pytest.raises(ZeroDivisionError):
        refreshes.refresh(TOKEN, upstream)
