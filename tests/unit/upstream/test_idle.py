"""Which idle connection serves next, before and after bytes arrived that were not asked for."""

from __future__ import annotations

import time

import pytest

from tests.unit.guards.clock import HandClock
from velro_auth.upstream.transport.idle import LEARNED_FOR_S, LONGEST_REST_S, SHORTEST_REST_S, Caution, Idle


class Connection:
    """An idle connection, last used so many seconds ago (or, below 0, in the future)."""

    opened_s = 0.0
    rested_s = 0.0
    has_leftover = False
    is_connected = True

    def __init__(self, caution: Caution, silent_for_s: float) -> None:
        self.caution = caution
        self.used_s = time.monotonic() - silent_for_s
        self.is_closed = False
        self.hears = False

    def hears_unasked(self) -> bool:
        return self.hears

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def caution(clock: HandClock) -> Caution:
    return Caution(clock)


@pytest.fixture
def idle(caution: Caution) -> Idle:
    queue: Idle = type("CautiousIdle", (Idle,), {"caution": caution})(3)
    for _ in range(3):
        queue.put(None)
    return queue


def keep(idle: Idle, *silent_for_s: float) -> list[Connection]:
    """Put connections into *idle*, the one silent for longest first."""
    connections = [Connection(idle.caution, seconds) for seconds in silent_for_s]
    for connection in connections:
        assert idle.take(None)
        idle.put(connection)
    return connections


def test_nobody_rests_while_all_is_well(caution: Caution) -> None:
    assert caution.rest_s == 0


def test_after_a_surprise_connections_rest_and_one_day_no_more(caution: Caution, clock: HandClock) -> None:
    caution.surprised(0.0)
    assert caution.rest_s == SHORTEST_REST_S

    clock.advance(LEARNED_FOR_S - 1)
    assert caution.rest_s == SHORTEST_REST_S
    clock.advance(1)
    assert caution.rest_s == 0


def test_a_rest_that_was_too_short_grows_and_is_not_forgotten_for_a_smaller_one(caution: Caution) -> None:
    caution.surprised(0.4)
    assert caution.rest_s == 0.8
    caution.surprised(0.0)
    assert caution.rest_s == 0.8
    caution.surprised(100.0)
    assert caution.rest_s == LONGEST_REST_S


def test_the_connection_used_last_serves_next(idle: Idle) -> None:
    _, latest = keep(idle, 20, 10)

    assert idle.get(block=False) is latest


def test_after_a_surprise_the_one_silent_for_longest_does(idle: Idle) -> None:
    oldest, _ = keep(idle, 20, 10)
    idle.caution.surprised(0.0)

    assert idle.get(block=False) is oldest
    assert not oldest.is_closed


def test_and_a_new_one_where_none_was_silent_for_long_enough(idle: Idle) -> None:
    keep(idle, -1000, -1000)
    idle.caution.surprised(LONGEST_REST_S)

    assert idle.get(block=False) is None
    assert (len(idle.snapshot()), idle.qsize()) == (2, 2)


def test_which_takes_the_place_of_the_oldest_where_all_places_are_taken(idle: Idle) -> None:
    oldest, *others = keep(idle, -1000, -1000, -1000)
    idle.caution.surprised(LONGEST_REST_S)

    assert idle.get(block=False) is None
    assert oldest.is_closed
    assert list(idle.snapshot()) == others


def test_a_connection_that_hears_something_is_closed_and_remembered(idle: Idle) -> None:
    (connection,) = keep(idle, 20)
    connection.hears = True

    assert idle.get(block=False) is connection
    assert connection.is_closed
    assert idle.caution.rest_s > 0


def test_one_with_bytes_behind_its_answer_leaves_its_place(idle: Idle) -> None:
    assert idle.take(None)
    connection = Connection(idle.caution, 0)
    connection.has_leftover = True

    idle.put(connection, block=False)

    assert connection.is_closed
    assert (idle.snapshot(), idle.qsize()) == ((), 3)
    assert idle.caution.rest_s > 0
