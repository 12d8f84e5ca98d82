"""The open loop, with threads and short real times."""

from __future__ import annotations

import threading
import time

import pytest

from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.openloop import Answer, OpenLoop
from velro_auth.ops.bench.schedule import Arrival

OK = Answer(200)


def every(gap_s: float, count: int) -> list[Arrival]:
    return [Arrival(gap_s * index, "good") for index in range(count)]


def test_every_request_is_sent_once_and_none_before_its_time() -> None:
    arrivals = every(0.005, 30)
    sent: list[tuple[float, Arrival]] = []
    starts_s = time.perf_counter()

    def send(arrival: Arrival) -> Answer:
        sent.append((time.perf_counter() - starts_s, arrival))
        return OK

    samples = OpenLoop(arrivals, send, threads=4, give_up_after_s=60).run()

    assert sorted(arrival.at_s for _, arrival in sent) == [arrival.at_s for arrival in arrivals]
    assert all(at_s >= arrival.at_s for at_s, arrival in sent)
    assert [sample.at_s for sample in samples] == [arrival.at_s for arrival in arrivals]
    assert all(sample.late_ms >= 0 for sample in samples)


def test_a_slow_answer_does_not_keep_others_from_being_sent() -> None:
    """The point of an open loop: here the first answer comes only when the last request was sent."""
    arrivals = every(0.001, 5)
    last_was_sent = threading.Event()
    in_time: list[bool] = []

    def send(arrival: Arrival) -> Answer:
        if arrival is arrivals[0]:
            in_time.append(last_was_sent.wait(30))
        if arrival is arrivals[-1]:
            last_was_sent.set()
        return OK

    OpenLoop(arrivals, send, threads=2, give_up_after_s=60).run()

    assert in_time == [True]


def test_waiting_for_a_free_connection_is_part_of_the_latency() -> None:
    """One thread, 20 ms an answer, a request due every millisecond: the tenth is due at 9 ms and done at 200 ms."""

    def send(_: Arrival) -> Answer:
        time.sleep(0.02)
        return OK

    samples = OpenLoop(every(0.001, 10), send, threads=1, give_up_after_s=60).run()

    assert samples[-1].took_ms > 180
    assert samples[-1].late_ms > 160
    assert figures(samples).punctuality.fell_behind


def test_what_could_not_be_sent_in_time_is_counted_as_a_failure() -> None:
    def send(_: Arrival) -> Answer:
        time.sleep(0.05)
        return OK

    samples = OpenLoop(every(0.001, 20), send, threads=1, give_up_after_s=0.1).run()

    outcomes = [sample.outcome for sample in samples]
    assert len(samples) == 20
    assert outcomes.count("unsent") >= 15
    assert outcomes[0] == "200"
    assert outcomes[-1] == "unsent"
    assert samples[-1].has_latency


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    lock = threading.Lock()
    flying, most = 0, 0

    def send(_: Arrival) -> Answer:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.005)
        with lock:
            flying -= 1
        return OK

    OpenLoop(every(0.0, 40), send, threads=3, give_up_after_s=60).run()

    assert most == 3


def test_a_defect_ends_the_run_instead_of_being_a_figure() -> None:
    def send(arrival: Arrival) -> Answer:
        if arrival.at_s == 0:
            raise LookupError("defect")
        return OK

    with pytest.raises(LookupError):
        # The last one is due in an hour: the run does not wait for it.
        OpenLoop([*every(0.001, 3), Arrival(3600, "good")], send, threads=2, give_up_after_s=7200).run(every_s=0.01)


def test_a_watcher_sees_samples_while_the_run_goes_on() -> None:
    seen: list[int] = []

    OpenLoop(every(0.01, 10), lambda _: OK, threads=2, give_up_after_s=60).run(
        lambda samples: seen.append(len(samples)), every_s=0.01
    )

    assert seen == sorted(seen)
    assert seen[-1] == 10
    assert seen[0] < 10


def test_nothing_to_send_is_a_run_too() -> None:
    assert OpenLoop([], lambda _: OK, threads=4, give_up_after_s=1).run() == []
