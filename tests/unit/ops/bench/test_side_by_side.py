"""``python -m benchmarks``: the parts that its figures hang on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import distance, upstream
from benchmarks.load import closed_loop, open_loop
from benchmarks.results import Measure, Spread
from benchmarks.setting import in_turn
from benchmarks.wire import TOKEN_PATH, Line, Question, Reading, get, login
from tests.fixtures.programs import ROOT, clean_environment, free_port


def measure(*rounds: dict[str, dict[str, float]]) -> Measure:
    return Measure(
        name="m",
        title="Things",
        metrics=("per s", "ms"),
        titles={"ours": "ours", "theirs": "theirs", "nobody": "nobody"},
        rounds=rounds,
        ratio_of="per s",
        reference="theirs",
        notes=("Note.",),
    )


def test_a_ratio_is_taken_within_a_round() -> None:
    """A round in which the machine was twice as fast must not show as a difference."""
    found = measure(
        {"ours": {"per s": 200}, "theirs": {"per s": 100}},
        {"ours": {"per s": 400}, "theirs": {"per s": 200}},
        {"ours": {"per s": 210}, "theirs": {"per s": 100}},
    )

    assert found.ratio("ours") == Spread(2.0, 2.0, 2.1)
    assert found.spread("ours", "per s") == Spread(210, 200, 400)


def test_who_was_left_out_of_a_round_is_left_out_of_its_figures() -> None:
    found = measure({"ours": {"per s": 1}}, {"theirs": {"per s": 2}, "ours": {"per s": 3}})

    assert found.ratio("ours") == Spread(1.5, 1.5, 1.5)
    assert found.spread("theirs", "ms") is None
    assert found.ratio("nobody") is None


def test_the_table_shows_medians_and_their_spread() -> None:
    found = measure(
        {"ours": {"per s": 1500, "ms": 1.234}, "theirs": {"per s": 1000}},
        {"ours": {"per s": 2500, "ms": 12.34}, "theirs": {"per s": 1000}},
    )

    assert found.as_markdown() == (
        "## Things\n\n"
        "|  | per s | ms | times theirs |\n"
        "| --- | --- | --- | --- |\n"
        "| ours | 2,000 (1,500 to 2,500) | 6.79 (1.23 to 12.34) | 2.00 (1.50 to 2.50) |\n"
        "| theirs | 1,000 |  | 1 |\n\n"
        "Note.\n"
    )


def test_nobody_always_comes_first() -> None:
    assert [in_turn([1, 2, 3], number)[0] for number in range(4)] == [1, 3, 1, 3]


@given(cutoffs=st.lists(st.integers(0, 60), max_size=5), length=st.integers(0, 30))
def test_an_answer_is_put_together_from_any_pieces(cutoffs: list[int], length: int) -> None:
    body = b"x" * length
    answer = b"HTTP/1.1 418 I'm a teapot\r\nCONTENT-LENGTH: %d\r\nA: b\r\n\r\n" % length + body
    places = [0, *sorted(min(cut, len(answer)) for cut in cutoffs), len(answer)]

    reading = Reading()
    found = [reading.feed(answer[start:end]) for start, end in itertools.pairwise(places)]

    assert (418, body) in found
    assert all(part is None or part == (418, body) for part in found)


def test_an_answer_without_a_length_is_none() -> None:
    """It would be read for ever."""
    with pytest.raises(ConnectionError):
        Reading().feed(b"HTTP/1.1 200 OK\r\n\r\n")


@given(number=st.integers(0, 5000))
def test_the_next_user_sits_in_another_network(number: int) -> None:
    def network(question: Question) -> bytes:
        head = question.request.split(b"X-Real-IP: ")[1]
        return head.split(b"\r\n")[0].rpartition(b".")[0]

    assert network(login(number)) != network(login(number + 1))


@contextlib.contextmanager
def doubled(*, delay_s: float = 0.0, idle_s: float = 0.0) -> Iterator[int]:
    """Run the upstream double in a thread and return its port."""
    loop = asyncio.new_event_loop()
    sessions = upstream.Sessions("http://127.0.0.1/auth/v1")

    async def start() -> asyncio.Server:
        return await loop.create_server(
            lambda: upstream.Connection(sessions, delay_s=delay_s, idle_s=idle_s), "127.0.0.1", 0
        )

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.wait_closed())
        loop.close()


@contextlib.contextmanager
def line_to(port: int) -> Iterator[Line]:
    with contextlib.closing(Line(port, timeout_s=10)) as line:
        yield line


def test_the_double_gives_each_user_a_session_of_their_own() -> None:
    with doubled() as port, line_to(port) as line:
        answers = [(question, line.ask(question.request)) for question in (login(n, path=TOKEN_PATH) for n in (1, 2))]

    assert all(question.is_answered_by(*answer) for question, answer in answers)
    first, second = (json.loads(body) for _, (_, body) in answers)
    assert first["user"]["email"] == "user1@example.com"
    assert not login(1).is_answered_by(200, json.dumps(second).encode())


def test_the_doubles_tokens_can_be_verified_with_its_keys() -> None:
    with doubled() as port, line_to(port) as line:
        _, session = line.ask(login(1, path=TOKEN_PATH).request)
        _, keys = line.ask(get("/auth/v1/.well-known/jwks.json").request)

    token = json.loads(session)["access_token"]
    key = jwt.PyJWKSet.from_json(keys.decode())[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, algorithms=["ES256"], audience="authenticated")["aal"] == "aal1"


def test_the_double_takes_the_time_it_was_told() -> None:
    with doubled(delay_s=0.05) as port, line_to(port) as line:
        started_s = time.perf_counter()
        line.ask(login(1, path=TOKEN_PATH).request)

        assert time.perf_counter() - started_s >= 0.05


def test_the_double_closes_silent_connections() -> None:
    with doubled(idle_s=0.05) as port, line_to(port) as line:
        line.ask(login(1, path=TOKEN_PATH).request)
        time.sleep(0.2)

        with pytest.raises(ConnectionError):
            line.ask(login(1, path=TOKEN_PATH).request)


def test_a_connection_closed_meanwhile_is_no_failed_login() -> None:
    """The load generator's own connections are not what is measured."""
    questions = map(lambda number: login(number, path=TOKEN_PATH), itertools.count())  # noqa: C417 - safe for threads
    with doubled(idle_s=0.02) as port:
        samples = open_loop(port, questions, rps=15, duration_s=0.6, seed=2)

    assert samples
    assert {sample.outcome for sample in samples} == {"200"}


def test_a_closed_loop_counts_right_and_wrong_answers() -> None:
    right, wrong = login(1, path=TOKEN_PATH), Question(login(2, path=TOKEN_PATH).request, b"rt-somebody else")
    with doubled() as port:
        found = closed_loop(port, itertools.cycle([right, right, wrong]), connections=3, count=300)

    assert found.answered + found.failed >= 300
    assert found.failed == pytest.approx(100, abs=2)
    assert found.per_s > 0


def test_a_closed_loop_that_hears_nothing_says_so() -> None:
    with doubled(delay_s=3600) as port, pytest.raises(TimeoutError, match=str(port)):
        closed_loop(port, itertools.repeat(login(1, path=TOKEN_PATH)), connections=1, timeout_s=0.05)


def test_distance_delays_and_keeps_the_order() -> None:
    """One round trip each way for a request, one more for the first: what a handshake would have cost."""
    far = free_port()
    with doubled() as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.distance", "--port", str(far), "--to", str(port), "--rtt-ms", "60"],
            cwd=ROOT,
            env=clean_environment(),
        )
        try:
            with contextlib.closing(_patiently(far)) as line:
                took_ms = []
                for number in range(3):
                    question = login(number, path=TOKEN_PATH)
                    started_s = time.perf_counter()
                    assert question.is_answered_by(*line.ask(question.request))
                    took_ms.append((time.perf_counter() - started_s) * 1000)
        finally:
            process.terminate()
            process.wait()

    assert took_ms[0] >= 119
    assert min(took_ms[1:]) >= 59


def _patiently(port: int) -> Line:
    ends_s = time.monotonic() + 30
    while time.monotonic() < ends_s:
        with contextlib.suppress(ConnectionRefusedError):
            return Line(port, timeout_s=10)
        time.sleep(0.01)
    raise AssertionError("the proxy did not start")


def test_what_is_sent_in_pieces_arrives_in_order() -> None:
    """All pieces that come before the handshake would be over leave at one moment."""

    class Sink(asyncio.Transport):
        """Keeps what is written."""

        def __init__(self) -> None:
            super().__init__()
            self.written = b""

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written += bytes(data)

        def is_closing(self) -> bool:
            return False

    async def run() -> bytes:
        lane, sink = distance.Lane(half_s=0.001, first_s=0.01), Sink()
        lane.leads_to(sink)
        lane.connection_made(Sink())
        for number in range(200):
            lane.data_received(b"%d," % number)
        await asyncio.sleep(0.05)
        return sink.written

    assert asyncio.run(run()) == b"".join(b"%d," % number for number in range(200))
