"""Which idle connection is used next, before and after bytes arrived outside an exchange."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tests.unit.guards.clock import HandClock
from velro_auth.upstream.transport.pool import (
    LONGEST_QUIET_S,
    REMEMBERED_FOR_S,
    SHORTEST_QUIET_S,
    ConnectionPool,
    QuietPeriod,
)
from velro_auth.upstream.transport.resolver import Resolver


class FakeConnection:
    """An idle connection, last used so many seconds ago (or, below 0, in the future)."""

    has_leftover = False
    is_connected = True
    sock = object()

    def __init__(self, idle_for_s: float) -> None:
        self.used_s = time.monotonic() - idle_for_s
        self.is_closed = False
        self.has_unexpected_bytes = False

    def received_unexpected_bytes(self) -> bool:
        return self.has_unexpected_bytes

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def quiet_period(clock: HandClock) -> QuietPeriod:
    return QuietPeriod(clock)


@pytest.fixture
def pool(quiet_period: QuietPeriod) -> ConnectionPool:
    return ConnectionPool("http://127.0.0.1:1", size=3, resolver=Resolver(), quiet_period=quiet_period)


def keep(pool: ConnectionPool, *idle_for_s: float) -> list[Any]:
    """Put connections into *pool*, the one idle for longest first."""
    connections = [FakeConnection(seconds) for seconds in idle_for_s]
    for connection in connections:
        pool.release(cast("Any", connection), is_usable=True)
    assert pool.idle() == tuple(cast("Any", connections))
    return connections


def test_there_is_no_quiet_period_while_all_is_well(quiet_period: QuietPeriod) -> None:
    assert quiet_period.required_s == 0


def test_after_unexpected_bytes_there_is_one_until_they_are_forgotten(
    quiet_period: QuietPeriod, clock: HandClock
) -> None:
    quiet_period.extend(0.0)
    assert quiet_period.required_s == SHORTEST_QUIET_S

    clock.advance(REMEMBERED_FOR_S - 1)
    assert quiet_period.required_s == SHORTEST_QUIET_S
    clock.advance(1)
    assert quiet_period.required_s == 0


def test_a_quiet_period_that_was_too_short_grows_and_does_not_shrink(quiet_period: QuietPeriod) -> None:
    quiet_period.extend(0.4)
    assert quiet_period.required_s == 0.8
    quiet_period.extend(0.0)
    assert quiet_period.required_s == 0.8
    quiet_period.extend(100.0)
    assert quiet_period.required_s == LONGEST_QUIET_S


def test_the_connection_used_last_is_used_next(pool: ConnectionPool) -> None:
    _, latest = keep(pool, 20, 10)

    assert pool.take() is latest


def test_after_unexpected_bytes_the_one_idle_for_longest_is(pool: ConnectionPool) -> None:
    oldest, _ = keep(pool, 20, 10)
    pool.quiet_period.extend()

    assert pool.take() is oldest
    assert not oldest.is_closed


def test_and_a_new_one_where_none_was_idle_for_long_enough(pool: ConnectionPool) -> None:
    kept = keep(pool, -1000, -1000)
    pool.quiet_period.extend(LONGEST_QUIET_S)

    assert pool.take().sock is None
    assert list(pool.idle()) == kept


def test_which_replaces_the_oldest_where_the_pool_is_full(pool: ConnectionPool) -> None:
    oldest, *others = keep(pool, -1000, -1000, -1000)
    pool.quiet_period.extend(LONGEST_QUIET_S)

    assert pool.take().sock is None
    assert oldest.is_closed
    assert list(pool.idle()) == others


def test_a_connection_with_unexpected_bytes_is_closed_and_remembered(pool: ConnectionPool) -> None:
    (connection,) = keep(pool, 20)
    connection.has_unexpected_bytes = True

    assert pool.take().sock is None
    assert connection.is_closed
    assert pool.quiet_period.required_s > 0


def test_a_connection_that_the_server_closed_is_closed_and_not_remembered(pool: ConnectionPool) -> None:
    (connection,) = keep(pool, 20)
    connection.is_connected = False

    assert pool.take().sock is None
    assert connection.is_closed
    assert pool.quiet_period.required_s == 0


@pytest.mark.parametrize("is_usable", [True, False])
def test_one_with_bytes_behind_its_answer_is_not_kept(pool: ConnectionPool, *, is_usable: bool) -> None:
    """If the answer was not read to its end, the bytes are probably the rest of it."""
    connection = FakeConnection(0)
    connection.has_leftover = True

    pool.release(cast("Any", connection), is_usable=is_usable)

    assert connection.is_closed
    assert pool.idle() == ()
    assert (pool.quiet_period.required_s > 0) is is_usable


def test_a_full_pool_closes_what_it_gets(pool: ConnectionPool) -> None:
    kept = keep(pool, 3, 2, 1)
    connection = FakeConnection(0)

    pool.release(cast("Any", connection), is_usable=True)

    assert connection.is_closed
    assert list(pool.idle()) == kept


def test_a_closed_pool_keeps_nothing(pool: ConnectionPool) -> None:
    (kept,) = keep(pool, 1)
    connection = FakeConnection(0)

    pool.close()
    pool.release(cast("Any", connection), is_usable=True)

    assert (kept.is_closed, connection.is_closed, pool.idle()) == (True, True, ())
