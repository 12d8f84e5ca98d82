"""Queues of waiting connections: each waits for a limited time, and which goes first when there is no room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from velro_auth.server.connection import DeadlineQueue, DeadlineQueues


class Clock:
    """A clock that is moved by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queues(clock: Clock) -> Iterator[DeadlineQueues]:
    return DeadlineQueues(idle_s=75.0, clock=clock)  # type: ignore[return-value]


def add(queues: DeadlineQueues, queue: DeadlineQueue) -> Any:
    conn: Any = ConnectionDouble()
    queues.add(conn, queue)
    return conn


def evict(queues: DeadlineQueues) -> Any:
    """Remove the connection that goes first."""
    conn = queues.next_to_evict()
    assert conn is not None
    queues.remove(conn)
    return conn


class ConnectionDouble:
    """What is known of a connection here."""

    queue: DeadlineQueue | None = None
    deadline_s = 0.0


@pytest.mark.parametrize("name", ["silent", "receiving", "sending", "idle", "lingering"])
def test_nothing_waits_for_ever(queues: DeadlineQueues, clock: Clock, name: str) -> None:
    queue = getattr(queues, name)
    conn = add(queues, queue)
    clock.now_s += queue.timeout_s - 0.001
    assert queues.next_expired() is None

    clock.now_s += 0.001

    assert queues.next_expired() is conn


@pytest.mark.parametrize("name", ["silent", "receiving", "sending", "idle", "lingering"])
def test_each_can_make_room(queues: DeadlineQueues, name: str) -> None:
    conn = add(queues, getattr(queues, name))

    assert evict(queues) is conn
    assert queues.next_to_evict() is None


def test_a_client_that_has_just_come_does_not_go_for_a_crowd_that_sends_nothing(
    queues: DeadlineQueues, clock: Clock
) -> None:
    crowd = [add(queues, queues.receiving) for _ in range(10)]
    clock.now_s += 0.1
    honest = [add(queues, queues.silent), add(queues, queues.idle), add(queues, queues.receiving)]

    gone = [evict(queues) for _ in crowd]

    assert set(gone) == set(crowd)
    assert all(conn.queue is not None for conn in honest)


def test_an_idle_connection_is_worth_more_than_a_request_that_does_not_come(
    queues: DeadlineQueues, clock: Clock
) -> None:
    idle = add(queues, queues.idle)
    clock.now_s += 5
    announced = add(queues, queues.receiving)
    clock.now_s += 1

    assert evict(queues) is announced
    assert evict(queues) is idle


def test_a_connection_that_has_its_answer_goes_first(queues: DeadlineQueues, clock: Clock) -> None:
    add(queues, queues.receiving)
    clock.now_s += 5
    answered = add(queues, queues.lingering)

    assert queues.next_to_evict() is answered


def test_a_stopping_worker_shortens_the_wait_of_idle_connections(queues: DeadlineQueues, clock: Clock) -> None:
    before, receiving = add(queues, queues.idle), add(queues, queues.receiving)

    queues.shorten_for_shutdown()

    after = add(queues, queues.idle)
    assert [conn.deadline_s - clock.now_s for conn in (before, after, receiving)] == [2.0, 2.0, 10.0]
