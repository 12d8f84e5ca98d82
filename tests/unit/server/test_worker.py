"""The worker's parts: what has arrived, what is sent, and which core is whose."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.server.affinity import Affinity, core_of
from velro_auth.server.buffered_connection import BufferedConnection
from velro_auth.server.compatibility import unfit
from velro_auth.server.connection import Connection
from velro_auth.server.dispatch import PlainWorker
from velro_auth.server.framing import GATHERED_BYTES, Arrival, Intake, Stage
from velro_auth.server.plain_parser import Reader
from velro_auth.server.worker import PROBES_PER_TURN, Worker

INTAKE = Intake(probe_paths=["/health"], limit_request_line=4094)
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /login HTTP/1.1\r\nHost: a\r\n"


def judge(data: bytes) -> Stage:
    return INTAKE.judge(Arrival(bytearray(data)))


@pytest.mark.parametrize(
    "data",
    [
        HEALTH,
        HEALTH.replace(b"GET", b"HEAD"),
        HEALTH.replace(b"/health", b"/health?verbose=1"),
        HEALTH.replace(b"1.1", b"1.0"),
        HEALTH * 2,
        HEALTH[:-2] + b"X-Content-Length: 5\r\n\r\n",
    ],
)
def test_probes_are_known(data: bytes) -> None:
    assert judge(data) is Stage.PROBE


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" + HEALTH,
        HEALTH.replace(b"GET", b"POST"),
        HEALTH.replace(b"GET", b"get"),
        HEALTH.replace(b"/health", b"/health/"),
        HEALTH.replace(b"/health", b"/Health"),
        HEALTH.replace(b"/health", b"/%68ealth"),
        HEALTH.replace(b"/health", b"http://a/health"),
        HEALTH.replace(b"/health", b"//health"),
        HEALTH.replace(b" HTTP", b"  HTTP"),
        HEALTH[:-2] + b"Content-Length: 0\r\n\r\n",
        HEALTH[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n",
    ],
)
def test_what_only_looks_like_a_probe_is_none(data: bytes) -> None:
    assert judge(data) is Stage.WHOLE


@pytest.mark.parametrize(
    ("rest", "stage"),
    [
        (b"Content-Length: 5\r\n\r\nhell", Stage.PARTIAL),
        (b"content-length:5 \r\n\r\nhello", Stage.WHOLE),
        (b"Content-Length: 5\r\n\r\nhelloGET", Stage.WHOLE),
        (b"Content-Length: 60000\r\n\r\n", Stage.PARTIAL),
        (b"Content-Length: 70000\r\n\r\n", Stage.OPEN),
        (b"Content-Length: -1\r\n\r\n", Stage.OPEN),
        (b"Content-Length: 9999999999999999\r\n\r\n", Stage.OPEN),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", Stage.OPEN),
        (b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", Stage.PARTIAL),
        (b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", Stage.WHOLE),
        (b"Content-Length: 2\r\nExpect: 200-ok\r\n\r\n", Stage.OPEN),
        (b"Content-Length: 0\r\nUpgrade: websocket\r\n\r\n", Stage.WHOLE),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", Stage.OPEN),
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n", Stage.OPEN),
        (b"Transfer-Encoding: chunked\r\n\r\n", Stage.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Stage.PARTIAL),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Stage.PARTIAL),
        (b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Stage.WHOLE),
        (b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", Stage.OPEN),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", Stage.OPEN),
        (b"Transfer-Encoding: chunked\r\n\r\nffff0\r\n", Stage.OPEN),
        (b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", Stage.OPEN),
        (b"Transfer-Encoding: chunked\r\n\r\n0000000000005\r\n", Stage.OPEN),
    ],
)
def test_bodies_are_gathered_where_their_end_is_plain(rest: bytes, stage: Stage) -> None:
    assert judge(POST + rest) is stage


@pytest.mark.parametrize(
    ("data", "stage"),
    [
        (b"", Stage.PARTIAL),
        (b"\r\n", Stage.PARTIAL),
        (HEALTH[:-1], Stage.PARTIAL),
        (b"GET /" + b"x" * 4000, Stage.PARTIAL),
        (b"GET /" + b"x" * 4100, Stage.OPEN),
        (HEALTH[:-2] + b"X: " + b"x" * GATHERED_BYTES, Stage.REFUSED),
        (b"GET / HTTP/1.1\n", Stage.OPEN),
        (b"GET / HTTP/1.1\r\nA: b\nC", Stage.OPEN),
    ],
)
def test_heads_that_are_not_there_yet_are_waited_for_unless_they_are_odd(data: bytes, stage: Stage) -> None:
    assert judge(data) is stage


REQUESTS = (
    HEALTH,
    b"\r\n" + HEALTH,
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
)


@given(request=st.sampled_from(REQUESTS), cutoffs=st.lists(st.integers(1, 200), max_size=20))
def test_a_request_is_there_with_its_last_byte_however_it_is_cut(request: bytes, cutoffs: list[int]) -> None:
    arrival = Arrival(bytearray())
    edges = sorted({min(cut, len(request) - 1) for cut in cutoffs} | {0, len(request)})

    stages = []
    for start, end in itertools.pairwise(edges):
        arrival.data += request[start:end]
        stages.append(INTAKE.judge(arrival))

    assert set(stages[:-1]) <= {Stage.PARTIAL}
    assert stages[-1] in {Stage.WHOLE, Stage.PROBE}


@given(st.binary(max_size=300))
def test_no_bytes_at_all_upset_it(data: bytes) -> None:
    for start in (b"", POST, POST + b"Transfer-Encoding: chunked\r\n\r\n"):
        assert judge(start + data) in Stage


# -- the channel ------------------------------------------------------------------------------------------------------


class RecordingSocket(socket.socket):
    """Remembers what was handed to the system in one call each."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.sent: list[bytes] = []

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override] # bytes are all there is
        count = super().send(data, flags)
        self.sent.append(data[:count])
        return count


Pair = tuple[BufferedConnection, socket.socket, RecordingSocket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    recording = RecordingSocket(ours)
    theirs.settimeout(5)
    with recording, theirs:
        yield BufferedConnection(recording), theirs, recording


def test_an_answer_leaves_in_one_piece(pair: Pair) -> None:
    channel, client, recording = pair

    channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    channel.sendall(b"body")
    assert recording.sent == []
    channel.flush()

    assert recording.sent == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
    assert client.recv(100) == recording.sent[0]


def test_an_interim_answer_leaves_at_once(pair: Pair) -> None:
    channel, client, _ = pair

    channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_the_main_thread_waits_for_nobody(pair: Pair) -> None:
    channel, _, _ = pair

    assert channel.recv(10) == b""
    assert channel.has_ended
    with pytest.raises(BrokenPipeError):
        channel.sendall(b"x" * 20_000_000)


def test_a_thread_waits_until_the_deadline_and_then_sees_the_end(pair: Pair) -> None:
    channel, client, _ = pair
    client.sendall(b"ab")
    channel.waits_until_s = time.monotonic() + 60

    assert channel.recv(1) == b"a"
    assert channel.recv(9) == b"b"
    client.close()
    assert (channel.recv(9), channel.has_ended) == (b"", True)


def test_after_the_deadline_nothing_is_read_even_if_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = BufferedConnection(ours, clock=lambda: 100.0)
        channel.waits_until_s = 99.0
        theirs.sendall(b"too late")

        assert (channel.recv(9), channel.has_ended) == (b"", True)


def test_gunicorn_can_neither_close_it_nor_make_it_block(pair: Pair) -> None:
    """It would do both on the main thread."""
    channel, client, recording = pair

    with pytest.raises(OSError, match="left to the worker"):
        channel.shutdown(socket.SHUT_WR)
    channel.close()
    channel.setblocking(True)
    channel.settimeout(None)

    assert (channel.gettimeout(), recording.gettimeout()) == (0.0, 0.0)
    channel.send(b"still there")
    assert client.recv(100) == b"still there"


def test_a_reset_is_an_end(pair: Pair) -> None:
    channel, client, _ = pair
    client.close()

    assert not channel.fill()
    assert channel.has_ended


# -- which worker -----------------------------------------------------------------------------------------------------


def config(**changes: object) -> Config:
    made = Config()
    for name, value in changes.items():
        made.set(name, value)
    return made


def test_the_worker_fits_gunicorn_as_it_is_installed() -> None:
    assert unfit(config()) == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"certfile": "a.pem", "keyfile": "a.pem"}, "TLS"),
        ({"http_protocols": "h1,h2"}, "HTTP/2"),
        ({"protocol": "uwsgi"}, "uWSGI"),
        ({"proxy_protocol": "auto"}, "PROXY"),
    ],
)
def test_what_it_does_not_speak_is_left_to_the_plain_worker(changes: dict[str, object], word: str) -> None:
    assert word in unfit(config(**changes))


def test_a_gunicorn_without_the_private_parts_is_served_by_its_own_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn's, not ours: what a new release might do."""
    monkeypatch.delattr(ThreadWorker, "get_thread_pool")
    said: list[str] = []
    log = SimpleNamespace(warning=lambda text, *args: said.append(text % args))

    made = Worker(1, os.getpid(), [], None, 30, config(), log)

    assert type(made) is PlainWorker
    assert said == ["the plain threaded worker is used: gunicorn has no get_thread_pool"]
    made.tmp.close()


class Counting(Worker):
    """Counts instead of answering."""

    answered = 0

    def handle(self, conn: Connection) -> bool:
        self.answered += 1
        return True


def test_a_flood_of_probes_is_answered_a_few_at_a_time() -> None:
    """Between them the selector is asked, and hands logins to the pool."""
    counting = Counting(1, os.getpid(), [], None, 30, config(), SimpleNamespace())
    with contextlib.ExitStack() as stack:
        counting.poller = stack.enter_context(selectors.DefaultSelector())
        for _ in range(PROBES_PER_TURN + 5):
            ours, _ = map(stack.enter_context, socket.socketpair())
            counting._probes.append(Connection(config(), ours, "", "", Reader(config(), ())))

        counting._turn(wait_s=0)
        assert counting.answered == PROBES_PER_TURN
        counting._turn(wait_s=0)
        assert counting.answered == PROBES_PER_TURN + 5
    counting.tmp.close()


# -- cores ------------------------------------------------------------------------------------------------------------


def first(_: int) -> int:
    return 0


def choices(affinity: Affinity, count: int) -> list[int | None]:
    taken: list[int | None] = []
    for _ in range(count):
        taken.append(affinity.choose(taken))
    return taken


def test_each_worker_has_a_core_of_its_own() -> None:
    assert choices(Affinity(workers=3, cores=[4, 5, 6, 7], draw=first), 3) == [4, 5, 6]


def test_the_first_core_is_drawn() -> None:
    assert choices(Affinity(workers=3, cores=[4, 5, 6], draw=lambda count: count - 1), 3) == [6, 4, 5]


def test_a_worker_that_is_replaced_leaves_its_core_to_the_next() -> None:
    affinity = Affinity(workers=3, cores=[0, 1, 2], draw=first)

    assert affinity.choose([0, 2]) == 1


def test_workers_that_outnumber_the_cores_are_not_pinned() -> None:
    assert choices(Affinity(workers=3, cores=[0, 1], draw=first), 2) == [None, None]


def test_a_system_without_cores_to_choose_from_pins_nothing() -> None:
    assert Affinity(workers=1, cores=[]).choose([]) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_pinning_moves_the_process_and_only_where_a_core_was_chosen() -> None:
    core = max(os.sched_getaffinity(0))
    script = (
        "import os\n"
        "from velro_auth.server.affinity import pin\n"
        "pin(None)\n"
        "print(len(os.sched_getaffinity(0)))\n"
        f"pin({core})\n"
        "print(os.sched_getaffinity(0))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(len(os.sched_getaffinity(0))), f"{{{core}}}"]


def test_a_worker_for_which_no_core_was_chosen_has_none() -> None:
    assert core_of(SimpleNamespace()) is None
    assert core_of(SimpleNamespace(core=3)) == 3
