"""The worker under gunicorn, with clients that do what clients should not."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.programs import Program, gateway
from tests.system.worker_lab import HEALTH, Served, in_background, read_all, read_answer, served, workers_of
from tests.waiting import eventually

LAST_HEALTH = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
#: Longer than any threshold here has to be, shorter than what it is told from.
PROMPT_S = 2.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("worker")) as running:
        yield running


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Served]:
    """One that the test may stop."""
    with served(tmp_path) as running:
        yield running


def hang(seconds: float) -> bytes:
    return f"GET /hang?s={seconds} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


def slowest_health_s(site: Served, count: int = 10) -> float:
    took_s = []
    for _ in range(count):
        started_s = time.monotonic()
        with site.connect() as client:
            client.sendall(HEALTH)
            head, _ = read_answer(client)
        assert head.startswith(b"HTTP/1.1 200 ")
        took_s.append(time.monotonic() - started_s)
    return max(took_s)


def test_a_probe_is_answered_on_the_main_thread_and_nothing_else_is(site: Served) -> None:
    with site.connect() as client:
        client.sendall(HEALTH)
        assert read_answer(client)[1] == b"MainThread"
        client.sendall(b"GET /health?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(client)[1] == b"MainThread"
        for other in (
            b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /%68ealth HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
        ):
            client.sendall(other)
            assert read_answer(client)[1].startswith(b"pool-"), other


def test_what_the_application_answers_at_once_is_answered_on_the_main_thread(site: Served) -> None:
    with site.connect() as client:
        for path, thread in ((b"known", b"MainThread"), (b"unknown", b"pool-"), (b"known", b"MainThread")):
            client.sendall(b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_answer(client)[1].startswith(thread)


def test_probes_are_answered_while_every_thread_hangs(site: Served) -> None:
    """The reason for all this: a load balancer must not take a waiting process for a dead one."""
    threads = [in_background(site.ask, hang(3)) for _ in range(8)]
    time.sleep(0.2)

    slowest_s = slowest_health_s(site)

    assert any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert slowest_s < PROMPT_S


def test_silent_connections_hold_no_thread(site: Served) -> None:
    """Forty connections that send nothing; gunicorn's own worker gives each a thread for 5 s."""
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(site.connect())
        started_s = time.monotonic()

        assert b"200 OK" in site.ask(hang(0))

        assert time.monotonic() - started_s < PROMPT_S


def test_clients_that_ask_to_close_and_stay_hold_nobody(site: Served) -> None:
    """gunicorn's own worker waits for each on its main thread, up to 2 s."""
    with contextlib.ExitStack() as stack:
        for path in (b"/health", b"/echo") * 8:
            client = stack.enter_context(site.connect())
            client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
        started_s = time.monotonic()

        assert b"200 OK" in site.ask(hang(0))

        assert time.monotonic() - started_s < PROMPT_S


def test_those_that_stay_are_closed_in_the_end(site: Served) -> None:
    with site.connect() as client:
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"MainThread")

        with pytest.raises(OSError):  # noqa: PT012 - which of them fails is the kernel's choice
            for _ in range(100):
                client.sendall(b"x")
                time.sleep(0.1)


def test_a_connection_serves_many_requests(site: Served) -> None:
    with site.connect() as client:
        for body in (b"one", b"two", b"x" * 30_000):
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            assert read_answer(client)[1] == body
            client.sendall(HEALTH)
            assert read_answer(client)[1] == b"MainThread"


def test_what_is_left_to_do_is_done_when_the_answer_has_left(site: Served, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with site.connect() as client:
        client.sendall(f"GET /afterwards?fifo={fifo} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert read_answer(client)[1]
        assert not fifo.with_suffix(".done").exists()
        fifo.write_bytes(b"go on")
        eventually(fifo.with_suffix(".done").exists)
        client.sendall(HEALTH)
        assert read_answer(client)[1] == b"MainThread"


def test_pipelined_requests_are_answered_in_their_order(site: Served) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"

    answer = site.ask(HEALTH + post + HEALTH * 50 + chunked + post + LAST_HEALTH)

    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"MainThread", b"hello", *[b"MainThread"] * 50, b"hi", b"hello", b"MainThread"]


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (HEALTH, b"MainThread"),
        (b"\r\n" + HEALTH.replace(b"/health", b"/echo"), b""),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            b"abcd",
        ),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nT: z\r\n\r\n", b"a"),
    ],
    ids=["probe", "empty line first", "length", "chunks", "extension and trailer"],
)
def test_a_request_may_come_byte_by_byte(site: Served, request_: bytes, body: bytes) -> None:
    with site.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request_:
            client.sendall(bytes([byte]))
            time.sleep(0.001)

        assert read_answer(client)[1] == body


def test_head_has_the_head_and_no_body(site: Served) -> None:
    answer = site.ask(LAST_HEALTH.replace(b"GET", b"HEAD"))

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 10\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_continue_is_said_before_the_body_comes(site: Served) -> None:
    with site.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ab")

        assert read_answer(client)[1] == b"ab"


def test_a_large_body_is_read_and_a_large_answer_sent(site: Served) -> None:
    body = os.urandom(3_000_000)
    with site.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + body)
        assert read_answer(client)[1] == body
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(read_answer(client)[1]) == 20_000_000


REFUSED = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "long line": b"GET /" + b"x" * 5000,
    "long line, ended": b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
    "long field": b"GET /health HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
    "many fields": b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "bare line feed": b"GET /health HTTP/1.1\nHost: a\n\n",
    "bare line feed in a field": b"GET /health HTTP/1.1\r\nHost: a\nB: c\r\n",
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /echo HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    "negative length": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "unknown coding": b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: nonsense\r\n\r\n",
    "space in a name": b"GET /health HTTP/1.1\r\nHost: a\r\nContent Length: 2\r\n\r\n{}",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "version": b"GET /health HTTP/3.0\r\nHost: a\r\n\r\n",
    "bad chunk": b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
}


def test_what_gunicorn_refuses_is_refused_with_the_same_status(site: Served, tmp_path: Path) -> None:
    """And without its page, which repeats what was sent."""
    with served(tmp_path, worker_class="gthread") as plain:
        for name, request in REFUSED.items():
            answer = site.ask(request)

            assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), name
            assert answer[:12] == plain.ask(request)[:12], name
            assert answer.endswith(b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), name


def read_exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        assert more, data
        data += more
    return data


@pytest.mark.parametrize(
    "start",
    [b"G", HEALTH[:-2], b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"],
    ids=["line", "head", "body"],
)
def test_an_unfinished_request_is_cut(site: Served, start: bytes) -> None:
    started_s = time.monotonic()

    answer = site.ask(start)

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert 8 < time.monotonic() - started_s < 15


def test_dribbling_does_not_prolong_it(site: Served) -> None:
    """Not even where a thread has to read: a length beyond what is gathered."""
    started_s = time.monotonic()
    answer = b""
    with site.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        client.settimeout(0.2)
        while not answer and time.monotonic() - started_s < 20:
            with contextlib.suppress(TimeoutError):
                client.sendall(b"x")
                answer = client.recv(65536)
        took_s = time.monotonic() - started_s
        # Were the connection kept, the rest of the body would be read as a request of its own.
        client.settimeout(5)
        with contextlib.suppress(OSError):
            client.sendall(HEALTH)
        answer += read_all(client)

    assert 8 < took_s < 15
    assert answer.count(b"HTTP/1.1") == 1


def test_clients_that_do_not_read_their_answers_hold_no_thread(site: Served) -> None:
    """And get them whole when they do."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(12):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(30)
            client.connect(("127.0.0.1", site.port))
            client.sendall(b"GET /medium HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            clients.append(client)
        started_s = time.monotonic()

        assert b"200 OK" in site.ask(hang(0))

        assert time.monotonic() - started_s < PROMPT_S
        assert len(read_answer(clients[0])[1]) == 6_000_000


def test_slow_bodies_hold_a_share_of_the_threads_only(site: Served) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(site.connect()).sendall(head)
        time.sleep(0.3)
        started_s = time.monotonic()

        assert b"200 OK" in site.ask(hang(0))

        assert time.monotonic() - started_s < PROMPT_S


def test_a_flood_of_probes_keeps_no_login_out(site: Served) -> None:
    is_over = threading.Event()
    one = site.ask(LAST_HEALTH).replace(b"close", b"keep-alive")

    def flood() -> None:
        with site.connect() as client:
            while not is_over.is_set():
                client.sendall(HEALTH * 20)
                for _ in range(20):
                    assert read_exactly(client, len(one))

    threads = [in_background(flood) for _ in range(4)]
    time.sleep(0.2)
    started_s = time.monotonic()

    answers = [site.ask(hang(0)) for _ in range(5)]

    took_s = time.monotonic() - started_s
    is_over.set()
    for thread in threads:
        thread.join()
    assert all(b"200 OK" in answer for answer in answers)
    assert took_s < 5 * PROMPT_S


def test_a_client_that_does_not_read_its_probes_does_not_stop_the_others(site: Served) -> None:
    with site.connect() as client:
        client.settimeout(0.5)
        with contextlib.suppress(OSError):
            for _ in range(2000):
                client.sendall(HEALTH * 500)

        assert slowest_health_s(site, 3) < PROMPT_S


def test_an_application_that_fails_in_the_middle_of_a_body_does_not_stop_the_main_thread(site: Served) -> None:
    with site.connect() as client:
        client.sendall(HEALTH.replace(b"/health", b"/broken"))
        assert slowest_health_s(site, 3) < PROMPT_S

        assert read_all(client).startswith(b"HTTP/1.1 500 ")


def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    """A crowd of silent connections must not use up ``worker_connections``."""
    with served(tmp_path, "--worker-connections", "20") as site, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(site.connect())

        assert slowest_health_s(site, 3) < PROMPT_S


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux changes the limits of another process")
def test_running_out_of_descriptors_makes_room_too(own_site: Served) -> None:
    """gunicorn's own worker dies of it."""
    (worker,) = workers_of(own_site.running)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (40, 40))
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(own_site.connect())

        assert slowest_health_s(own_site, 3) < PROMPT_S

    assert workers_of(own_site.running) == [worker]


def test_sigterm_lets_accepted_requests_finish_and_refuses_new_ones(own_site: Served) -> None:
    """Eight for four threads: the second half begins when the worker has been told to stop."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(own_site.connect()) for _ in range(8)]
        for client in clients:
            # Its answer shows that the connection is accepted.
            client.sendall(HEALTH)
            assert read_answer(client)[1] == b"MainThread"
            client.sendall(hang(3))

        own_site.running.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(own_site))
        # It refuses while it still has work to do.
        assert own_site.running.process.poll() is None

        answers = [read_answer(client)[0] for client in clients]
    assert own_site.running.process.wait(30) == 0
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 8


def refuses(site: Served) -> bool:
    """Return whether nobody accepts connections any more."""
    try:
        site.connect().close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # The listener was closed in this moment.
        return False
    return False


def test_a_stopping_worker_answers_what_comes_on_an_idle_connection_and_closes_it(own_site: Served) -> None:
    """The client could not know; its request must not be lost."""
    with own_site.connect() as client:
        client.sendall(HEALTH)
        assert b"Connection: keep-alive" in read_answer(client)[0]
        own_site.running.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(own_site))

        client.sendall(HEALTH)

        assert b"Connection: close" in read_answer(client)[0]
    assert own_site.running.process.wait(30) == 0


def test_silent_connections_do_not_hold_up_the_end(own_site: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(own_site.connect())
        time.sleep(0.2)
        started_s = time.monotonic()

        own_site.running.stop()

        assert time.monotonic() - started_s < 6


def test_max_requests_lose_no_request(tmp_path: Path) -> None:
    with served(tmp_path, "--max-requests", "20", "--workers", "2") as site:
        for _ in range(100):
            assert slowest_health_s(site, 1) < 10


def test_unfit_settings_get_the_plain_worker(tmp_path: Path) -> None:
    """Said once per worker, and served all the same."""
    # With one thread the pool has one name to answer with.
    with served(tmp_path, "--proxy-protocol", "auto", "--threads", "1") as site:
        assert site.ask(LAST_HEALTH).endswith(b"\r\n\r\nThreadPoolExecutor-0_0")
        site.running.stop()
    said = "the plain threaded worker is used: it does not speak the PROXY protocol"
    assert site.running.output.count(said) == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins nothing")
def test_a_deployed_worker_has_a_core_of_its_own_unless_there_are_too_few(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    for workers, allowed in ((1, 1), (cores + 1, cores)):
        with gateway(tmp_path / "gateway.log", WEB_CONCURRENCY=str(workers)) as running:
            # A worker is there before it has chosen its core.
            eventually(functools.partial(each_may_use, running, workers, allowed))


def each_may_use(running: Program, workers: int, cores: int) -> bool:
    """Return whether there are so many workers, and each has so many cores."""
    pids = workers_of(running)
    return [len(os.sched_getaffinity(pid)) for pid in pids] == [cores] * workers
