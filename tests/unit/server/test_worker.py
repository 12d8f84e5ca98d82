"""The worker's parts: what has arrived, what is sent, and which core is whose."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.workers.base import Worker as GunicornWorker

from velro_auth.server.compatibility import WORKER_PARTS, PlainWorker, incompatibility
from velro_auth.server.connection import Connection
from velro_auth.server.process_tuning import Affinity, core_of
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.worker import PROBES_PER_TURN, Worker

# -- the connection ---------------------------------------------------------------------------------------------------


def config(**changes: object) -> Config:
    made = Config()
    for name, value in {"forwarded_allow_ips": "*", **changes}.items():
        made.set(name, value)
    return made


class RecordingSocket(socket.socket):
    """Remembers what was handed to the system in one call each."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.sent: list[bytes] = []

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override] # bytes are all there is
        count = super().send(data, flags)
        self.sent.append(bytes(data[:count]))
        return count


Pair = tuple[Connection, socket.socket, RecordingSocket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    recording = RecordingSocket(ours)
    theirs.settimeout(5)
    with recording, theirs:
        yield Connection(recording, "", "", ParserSettings(config())), theirs, recording


def test_a_response_leaves_in_one_piece(pair: Pair) -> None:
    conn, client, recording = pair

    conn.outbox += b"HTTP/1.1 200 OK\r\n\r\n"
    conn.outbox += b"body"

    assert conn.flush()
    assert recording.sent == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
    assert client.recv(100) == recording.sent[0]


def test_a_continue_leaves_at_once_and_once(pair: Pair) -> None:
    conn, client, recording = pair
    conn.inbox += b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    conn.parser.feed(conn.inbox)

    conn.send_continue()
    conn.send_continue()

    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert len(recording.sent) == 1


def test_nothing_waits_for_the_client(pair: Pair) -> None:
    conn, _, recording = pair

    conn.receive()
    conn.outbox += b"x" * 20_000_000

    assert not conn.flush()
    assert not conn.has_ended
    assert len(conn.outbox) + len(b"".join(recording.sent)) == 20_000_000


def test_a_reset_is_an_end(pair: Pair) -> None:
    conn, client, _ = pair
    client.close()

    conn.receive()

    assert conn.has_ended


# -- which worker -----------------------------------------------------------------------------------------------------


def test_the_worker_fits_gunicorn_as_it_is_installed() -> None:
    assert incompatibility(config()) == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"certfile": "a.pem", "keyfile": "a.pem"}, "TLS"),
        ({"http_protocols": "h1,h2"}, "HTTP/2"),
        ({"protocol": "uwsgi"}, "uWSGI"),
        ({"proxy_protocol": "auto"}, "PROXY"),
        ({"forwarded_allow_ips": "127.0.0.1"}, "forwarded_allow_ips"),
        ({"header_map": "refuse"}, "header_map"),
        ({"permit_obsolete_folding": True}, "header lines"),
    ],
)
def test_what_it_does_not_speak_is_left_to_the_plain_worker(changes: dict[str, object], word: str) -> None:
    assert word in incompatibility(config(**changes))


@pytest.mark.parametrize("name", WORKER_PARTS)
def test_each_part_of_gunicorn_that_is_used_is_checked(name: str) -> None:
    methods = {part: None for part in WORKER_PARTS if part != name}

    assert incompatibility(config(), type("Other", (), methods)) == f"gunicorn has no {name}"
    assert incompatibility(config(), type("Same", (), {**methods, name: None})) == ""


def test_a_gunicorn_without_the_private_parts_is_served_by_its_own_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn's, not ours: what a new release might do."""
    monkeypatch.delattr(GunicornWorker, "notify")
    said: list[str] = []
    log = SimpleNamespace(warning=lambda text, *args: said.append(text % args))

    made = Worker(1, os.getpid(), [], None, 30, config(), log)

    assert type(made) is PlainWorker
    assert said == ["the plain threaded worker is used: gunicorn has no notify"]
    made.tmp.close()


class Counting(Worker):
    """Counts instead of answering."""

    answered = 0

    def _answer(self, _: Connection) -> bool:
        self.answered += 1
        return True


def test_a_flood_of_probes_is_answered_a_few_at_a_time() -> None:
    """Between them the selector is asked, and hands logins to the pool."""
    counting = Counting(1, os.getpid(), [], None, 30, config(), SimpleNamespace())
    with contextlib.ExitStack() as stack:
        settings = ParserSettings(config())
        counting.poller = stack.enter_context(selectors.DefaultSelector())
        for _ in range(PROBES_PER_TURN + 5):
            ours, _ = map(stack.enter_context, socket.socketpair())
            counting._probes.append(Connection(ours, "", "", settings))

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
        "from velro_auth.server.process_tuning import pin\n"
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
