"""Numbers that workers share."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.unit.telemetry.answers import Child
from velro_auth.telemetry.shared import Table, Workers

Fork = Callable[[Callable[[], object]], Child]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def test_every_worker_has_a_row_of_its_own(fork: Fork) -> None:
    workers = Workers(workers=2)
    table = Table(workers, 2)

    def work() -> None:
        table.own_row()[0] = 1.0
        table.own_row()[1] = workers.row

    work()
    for _ in range(3):
        fork(work)

    assert table.sums()[0] == 4.0
    assert sorted(row[1] for row in table.rows if row[0]) == [0, 1, 2, 3]


def test_what_a_killed_worker_counted_stays_and_its_row_is_given_to_the_next(fork: Fork) -> None:
    table = Table(Workers(workers=1), 1)

    def count() -> None:
        for _ in range(100):
            table.own_row()[0] += 1

    for _ in range(10):
        fork(count).kill()

    assert table.sums() == [1000.0]
    assert [row[0] for row in table.rows] == [1000.0, 0, 0, 0]


def test_one_worker_leads_until_it_dies(fork: Fork) -> None:
    workers = Workers(workers=2)
    table = Table(workers, 1)

    def stand() -> None:
        table.own_row()[0] = 1 + workers.leads()

    first = fork(stand)
    fork(stand)
    assert [row[0] for row in table.rows[:2]] == [2, 1]
    assert not workers.leads()

    first.kill()

    assert workers.leads()


def test_who_comes_when_all_rows_are_taken_shares_the_last_one(fork: Fork) -> None:
    """Better a number that may miss one than a worker that cannot answer."""
    table = Table(Workers(workers=1), 1)

    def count() -> None:
        table.own_row()[0] += 1

    for _ in range(6):
        fork(count)

    assert [row[0] for row in table.rows] == [1, 1, 1, 3]


def test_threads_of_one_worker_share_its_row() -> None:
    table = Table(Workers(), 1)
    start = threading.Barrier(8)

    def count() -> None:
        start.wait()
        for _ in range(2000):
            with table.lock:
                table.own_row()[0] += 1

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [row[0] for row in table.rows] == [16_000, 0, 0, 0]
