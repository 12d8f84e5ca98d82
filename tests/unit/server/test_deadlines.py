"""Where connections wait: each for a limited time, and who goes first when there is no room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from velro_auth.server.deadlines import Place, Waiting


class Clock:
    """A clock that is moved by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waiting(clock: Clock) -> Iterator[Waiting]:
    return Waiting(send_s=10.0, idle_s=75.0, clock=clock)  # type: ignore[return-value]


def enter(waiting: Waiting, place: Place, *, ends_s: float | None = None) -> Any:
    conn: Any = ConnectionDouble()
    waiting.enter(conn, place, ends_s=ends_s)
    return conn


def leaving(waiting: Waiting) -> Any:
    """Take away the connection that goes first."""
    conn = waiting.least_deserving()
    assert conn is not None
    waiting.leave(conn)
    return conn


class ConnectionDouble:
    """What is known of a connection here."""

    place: Place | None = None
    ends_s = 0.0


@pytest.mark.parametrize("name", ["silent", "arriving", "queued", "taking", "idle", "lingering"])
def test_nothing_waits_for_ever(waiting: Waiting, clock: Clock, name: str) -> None:
    """A request that waited for a thread to read it did."""
    place = getattr(waiting, name)
    conn = enter(waiting, place)
    clock.now_s += place.for_s - 0.001
    assert waiting.expired() is None

    clock.now_s += 0.001

    assert waiting.expired() is conn


def test_time_that_has_begun_elsewhere_goes_on(waiting: Waiting, clock: Clock) -> None:
    enter(waiting, waiting.queued)
    late = enter(waiting, waiting.queued, ends_s=clock.now_s + 1)

    clock.now_s += 1

    assert waiting.expired() is late


@pytest.mark.parametrize("name", ["silent", "arriving", "queued", "taking", "idle", "lingering"])
def test_each_can_make_room(waiting: Waiting, name: str) -> None:
    conn = enter(waiting, getattr(waiting, name))

    assert leaving(waiting) is conn
    assert waiting.least_deserving() is None


def test_a_client_that_has_just_come_does_not_go_for_a_crowd_that_sends_nothing(waiting: Waiting, clock: Clock) -> None:
    crowd = [enter(waiting, place) for place in (waiting.arriving, waiting.queued) for _ in range(10)]
    clock.now_s += 0.1
    honest = [enter(waiting, waiting.silent), enter(waiting, waiting.idle), enter(waiting, waiting.arriving)]

    gone = [leaving(waiting) for _ in crowd]

    assert set(gone) == set(crowd)
    assert all(conn.place is not None for conn in honest)


def test_an_idle_connection_is_worth_more_than_a_request_that_does_not_come(waiting: Waiting, clock: Clock) -> None:
    idle = enter(waiting, waiting.idle)
    clock.now_s += 5
    promised = enter(waiting, waiting.arriving)
    clock.now_s += 1

    assert leaving(waiting) is promised
    assert leaving(waiting) is idle


def test_a_connection_that_has_its_answer_goes_first(waiting: Waiting, clock: Clock) -> None:
    enter(waiting, waiting.arriving)
    clock.now_s += 5
    answered = enter(waiting, waiting.lingering)

    assert waiting.least_deserving() is answered


def test_at_the_end_idle_connections_get_a_last_call(waiting: Waiting, clock: Clock) -> None:
    before, arriving = enter(waiting, waiting.idle), enter(waiting, waiting.arriving)

    waiting.last_call()

    after = enter(waiting, waiting.idle)
    assert [conn.ends_s - clock.now_s for conn in (before, after, arriving)] == [2.0, 2.0, 10.0]
