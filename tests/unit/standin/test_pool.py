"""Connections are lent one at a time, a bounded number of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from supabase_standin.pool import Pool
from tests.waiting import PATIENCE_S


@pytest.fixture
def pool(auth_database: str) -> Iterator[Pool]:
    pool = Pool(auth_database, size=3)
    yield pool
    pool.close()


def backend(pool: Pool) -> int:
    with pool.transaction() as connection:
        return connection.info.backend_pid


def test_a_connection_is_used_again(pool: Pool) -> None:
    assert backend(pool) == backend(pool)


def test_a_good_end_commits_and_an_exception_rolls_back(pool: Pool) -> None:
    with pool.transaction() as connection:
        connection.execute("create table kept (n int)")
    with pytest.raises(psycopg.errors.DivisionByZero), pool.transaction() as connection:
        connection.execute("create table lost as select 1 / 0 as n")

    with pool.transaction() as connection:
        row = connection.execute("select to_regclass('kept')::text, to_regclass('lost')::text").fetchone()
    assert row == ("kept", None)


def test_what_waits_for_the_commit_is_called_after_it_and_never_after_a_rollback(pool: Pool) -> None:
    called: list[str] = []

    with pool.transaction() as connection:
        connection.execute("create table waited (n int)")
        with pool.transaction():
            pool.after_commit(lambda: called.append("inner"))
        pool.after_commit(lambda: called.append(str(backend_sees(pool, "waited"))))
        assert called == ["inner"]
    with contextlib.suppress(psycopg.errors.DivisionByZero), pool.transaction() as connection:
        pool.after_commit(lambda: called.append("rolled back"))
        connection.execute("select 1 / 0")

    assert called == ["inner", "True"]


def test_without_a_transaction_nothing_waits_for_a_commit() -> None:
    """Nobody would call it: the mail would be lost without a word."""
    unreachable = Pool("host=127.0.0.1 port=1", size=1)
    with pytest.raises(psycopg.OperationalError), unreachable.transaction():
        pass

    with pytest.raises(AttributeError):
        unreachable.after_commit(lambda: None)


def backend_sees(pool: Pool, table: str) -> bool:
    with pool.transaction() as other:
        found = other.execute("select to_regclass(%s) is not null", [table]).fetchone()
    return bool(found and found[0])


def test_never_more_connections_than_said_are_open(pool: Pool) -> None:
    lock, lent, most = threading.Lock(), 0, 0
    three = threading.Barrier(3, timeout=PATIENCE_S)

    def use(_: int) -> int:
        nonlocal lent, most
        with pool.transaction() as connection:
            with lock:
                lent += 1
                most = max(most, lent)
            three.wait()
            with lock:
                lent -= 1
            return connection.info.backend_pid

    with ThreadPoolExecutor(20) as threads:
        backends = set(threads.map(use, range(60)))

    assert most == 3
    assert len(backends) <= 3


def test_a_broken_connection_is_replaced(pool: Pool, auth_database: str) -> None:
    first = backend(pool)
    with psycopg.connect(auth_database) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", [first])

    with pytest.raises(psycopg.OperationalError):
        backend(pool)

    assert backend(pool) != first


def test_a_connection_lent_while_the_pool_closes_is_closed_when_it_comes_back(pool: Pool) -> None:
    with pool.transaction() as connection:
        pool.close()
        assert not connection.closed

    assert connection.closed
