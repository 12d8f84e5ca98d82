"""The bulkhead under real threads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.waiting import eventually
from velro_auth.context import RequestContext
from velro_auth.errors import Busy, InvalidCredentials, UpstreamTimeout
from velro_auth.guards.asking import Bulkhead


class Callers:
    """Threads that acquire a permit, hold it until they are released, and record the outcome."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self._bulkhead = bulkhead
        self._threads: list[threading.Thread] = []
        self.in_flight: list[int] = []
        self.most_in_flight = 0
        self.refused: list[int] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._in_now = 0

    def arrive(self, number: int) -> None:
        """Start one call, and wait until it is in flight, waiting, or refused."""
        before = self._known()
        thread = threading.Thread(target=self._call, args=(number,))
        self._threads.append(thread)
        thread.start()
        eventually(lambda: self._known() > before)

    def _known(self) -> int:
        return len(self.in_flight) + len(self.refused) + self._bulkhead.waiting

    def _call(self, number: int) -> None:
        try:
            with self._bulkhead.permit():
                with self._lock:
                    self.in_flight.append(number)
                    self._in_now += 1
                    self.most_in_flight = max(self.most_in_flight, self._in_now)
                self.released.wait(10)
                with self._lock:
                    self._in_now -= 1
        except Busy:
            self.refused.append(number)

    def end(self) -> None:
        self.released.set()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def callers(bulkhead: Bulkhead) -> Iterator[Callers]:
    group = Callers(bulkhead)
    try:
        yield group
    finally:
        group.end()


def bulkhead(permits: int, *, wait_s: float = 5.0, max_waiting: int = 100) -> Bulkhead:
    return Bulkhead(permits=permits, wait_s=wait_s, max_waiting=max_waiting)


def test_permits_are_first_come_first_served() -> None:
    with callers(bulkhead(1)) as group:
        for number in range(20):
            group.arrive(number)
        assert group.in_flight == [0]

        group.end()

    assert group.in_flight == list(range(20))
    assert group.most_in_flight == 1


def test_no_more_calls_than_permits_are_in_flight() -> None:
    with callers(bulkhead(3)) as group:
        for number in range(30):
            group.arrive(number)
        group.end()

    assert (group.most_in_flight, sorted(group.in_flight)) == (3, list(range(30)))


def test_a_login_beyond_the_permits_is_busy_after_its_wait() -> None:
    crowded = bulkhead(1, wait_s=0.1)
    with callers(crowded) as group:
        group.arrive(0)
        started = time.monotonic()

        with pytest.raises(Busy), crowded.permit():
            pass

        assert 0.1 <= time.monotonic() - started < 0.5
        assert crowded.waiting == 0


def test_a_login_beyond_the_queue_is_busy_at_once() -> None:
    crowded = bulkhead(1, max_waiting=2)
    with callers(crowded) as group:
        for number in range(3):
            group.arrive(number)
        started = time.monotonic()

        with pytest.raises(Busy), crowded.permit():
            pass

        assert time.monotonic() - started < 0.1
        assert (crowded.in_use, crowded.waiting) == (1, 2)


def test_the_time_that_a_call_waits_counts_towards_the_deadline_of_its_request() -> None:
    crowded = bulkhead(1, wait_s=10)
    context = RequestContext(request_id="1", address="192.0.2.1", arrived_s=0.0)
    with crowded.permit(context):
        waiter = threading.Thread(target=lambda: contextlib.ExitStack().enter_context(crowded.permit(context)))
        waiter.start()
        eventually(lambda: crowded.waiting)
        time.sleep(0.05)
    waiter.join(10)

    assert 0.05 <= context.waited_s < 5


def test_a_permit_that_becomes_free_as_the_wait_ends_is_not_lost() -> None:
    """The wait is over, but before the waiter can leave the queue it gets a permit."""
    hurried = bulkhead(1, wait_s=0.01)
    passed: list[int] = []

    def pass_through() -> None:
        with hurried.permit():
            passed.append(1)

    waiter = threading.Thread(target=pass_through)
    with hurried.permit():
        waiter.start()
        eventually(lambda: hurried.waiting)
        with hurried.state.lock:
            time.sleep(0.05)
            hurried.state.in_use += 1
            hurried.state.waiting.popleft().set()
        waiter.join(10)

    assert (passed, hurried.in_use, hurried.waiting) == ([1], 0, 0)


def test_many_hurried_visitors_leave_nothing_behind() -> None:
    hurried = bulkhead(2, wait_s=0.002)
    crowd = [threading.Thread(target=_come_and_go, args=(hurried,)) for _ in range(20)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(10)

    assert (hurried.in_use, hurried.waiting) == (0, 0)


def _come_and_go(bulkhead: Bulkhead) -> None:
    for _ in range(50):
        try:
            with bulkhead.permit():
                time.sleep(0.0005)
        except Busy:
            pass


@pytest.mark.parametrize("error", [InvalidCredentials, UpstreamTimeout, KeyError, SystemExit])
def test_every_way_out_releases_the_permit(error: type[BaseException]) -> None:
    once = bulkhead(1, wait_s=0.0)
    for _ in range(3):
        with pytest.raises(error), once.permit():
            raise error

    assert once.in_use == 0


def test_more_permits_admit_waiting_calls() -> None:
    bulkhead = Bulkhead(permits=1, wait_s=10, max_waiting=5)
    with callers(bulkhead) as group:
        for number in range(4):
            group.arrive(number)
        assert (bulkhead.in_use, bulkhead.waiting) == (1, 3)

        Bulkhead(permits=3, wait_s=10, max_waiting=5, state=bulkhead.state)

        assert (bulkhead.in_use, bulkhead.waiting) == (3, 1)


def test_fewer_permits_end_no_call() -> None:
    bulkhead = Bulkhead(permits=3, wait_s=10, max_waiting=5)
    with callers(bulkhead) as group:
        for number in range(3):
            group.arrive(number)

        smaller = Bulkhead(permits=1, wait_s=0.01, max_waiting=0, state=bulkhead.state)
        with pytest.raises(Busy), smaller.permit():
            pass

        assert bulkhead.in_use == smaller.in_use == 3
    assert bulkhead.in_use == 0
