"""The gate under real threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.waiting import eventually
from velro_auth.errors import Busy, InvalidCredentials, UpstreamTimeout
from velro_auth.guards.bulkhead import Bulkhead


class Visitors:
    """Threads that go through a gate, wait inside until they are let go, and say what became of them."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self._bulkhead = bulkhead
        self._threads: list[threading.Thread] = []
        self.inside: list[int] = []
        self.most_inside = 0
        self.turned_away: list[int] = []
        self.go_home = threading.Event()
        self._lock = threading.Lock()
        self._in_now = 0

    def arrive(self, number: int) -> None:
        """Send one, and wait until it is inside, waiting, or gone."""
        before = self._known()
        thread = threading.Thread(target=self._visit, args=(number,))
        self._threads.append(thread)
        thread.start()
        eventually(lambda: self._known() > before)

    def _known(self) -> int:
        return len(self.inside) + len(self.turned_away) + self._bulkhead.waiting

    def _visit(self, number: int) -> None:
        try:
            with self._bulkhead.permit():
                with self._lock:
                    self.inside.append(number)
                    self._in_now += 1
                    self.most_inside = max(self.most_inside, self._in_now)
                self.go_home.wait(10)
                with self._lock:
                    self._in_now -= 1
        except Busy:
            self.turned_away.append(number)

    def end(self) -> None:
        self.go_home.set()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def visitors(bulkhead: Bulkhead) -> Iterator[Visitors]:
    party = Visitors(bulkhead)
    try:
        yield party
    finally:
        party.end()


def bulkhead(permits: int, *, wait_s: float = 5.0, max_waiting: int = 100) -> Bulkhead:
    return Bulkhead(permits=permits, wait_s=wait_s, max_waiting=max_waiting)


def test_slots_go_to_whoever_came_first() -> None:
    with visitors(bulkhead(1)) as party:
        for number in range(20):
            party.arrive(number)
        assert party.inside == [0]

        party.end()

    assert party.inside == list(range(20))
    assert party.most_inside == 1


def test_no_more_than_the_slots_are_inside() -> None:
    with visitors(bulkhead(3)) as party:
        for number in range(30):
            party.arrive(number)
        party.end()

    assert (party.most_inside, sorted(party.inside)) == (3, list(range(30)))


def test_a_login_beyond_the_slots_is_busy_after_its_wait() -> None:
    crowded = bulkhead(1, wait_s=0.1)
    with visitors(crowded) as party:
        party.arrive(0)
        started = time.monotonic()

        with pytest.raises(Busy), crowded.permit():
            pass

        assert 0.1 <= time.monotonic() - started < 0.5
        assert crowded.waiting == 0


def test_a_login_beyond_the_queue_is_busy_at_once() -> None:
    crowded = bulkhead(1, max_waiting=2)
    with visitors(crowded) as party:
        for number in range(3):
            party.arrive(number)
        started = time.monotonic()

        with pytest.raises(Busy), crowded.permit():
            pass

        assert time.monotonic() - started < 0.1
        assert (crowded.in_use, crowded.waiting) == (1, 2)


def test_a_slot_that_comes_free_as_the_wait_ends_is_not_lost() -> None:
    """The wait is over, but before the waiter can leave the queue its turn comes."""
    hurried = bulkhead(1, wait_s=0.01)
    passed: list[int] = []

    def pass_through() -> None:
        with hurried.permit():
            passed.append(1)

    waiter = threading.Thread(target=pass_through)
    with hurried.permit():
        waiter.start()
        eventually(lambda: hurried.waiting)
        with hurried._lock:
            time.sleep(0.05)
            hurried._in_use += 1
            hurried._queue.popleft().set()
        waiter.join(10)

    assert (passed, hurried.in_use, hurried.waiting) == ([1], 0, 0)


def test_many_hurried_visitors_leave_nothing_behind() -> None:
    hurried = bulkhead(2, wait_s=0.002)
    crowd = [threading.Thread(target=_come_and_go, args=(hurried,)) for _ in range(20)]
    for visitor in crowd:
        visitor.start()
    for visitor in crowd:
        visitor.join(10)

    assert (hurried.in_use, hurried.waiting) == (0, 0)


def _come_and_go(bulkhead: Bulkhead) -> None:
    for _ in range(50):
        try:
            with bulkhead.permit():
                time.sleep(0.0005)
        except Busy:
            pass


@pytest.mark.parametrize("error", [InvalidCredentials, UpstreamTimeout, KeyError, SystemExit])
def test_every_way_out_frees_the_slot(error: type[BaseException]) -> None:
    once = bulkhead(1, wait_s=0.0)
    for _ in range(3):
        with pytest.raises(error), once.permit():
            raise error

    assert once.in_use == 0


def test_a_larger_gate_lets_in_who_waits() -> None:
    bulkhead = Bulkhead(permits=1, wait_s=10, max_waiting=5)
    with visitors(bulkhead) as party:
        for number in range(4):
            party.arrive(number)
        assert (bulkhead.in_use, bulkhead.waiting) == (1, 3)

        bulkhead.adjust(permits=3, wait_s=10, max_waiting=5)

        assert (bulkhead.in_use, bulkhead.waiting) == (3, 1)


def test_a_smaller_gate_throws_nobody_out() -> None:
    bulkhead = Bulkhead(permits=3, wait_s=10, max_waiting=5)
    with visitors(bulkhead) as party:
        for number in range(3):
            party.arrive(number)

        bulkhead.adjust(permits=1, wait_s=0.01, max_waiting=0)
        party.arrive(3)

        assert bulkhead.in_use == 3
        assert party.turned_away == [3]
    assert bulkhead.in_use == 0
