"""The worker's threads: started ahead, and a system that gives none breaks nothing."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import pytest

from velro_auth.server.thread_pool import Pool


class Scarce:
    """A system that has only so many threads to give."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, thread: threading.Thread) -> None:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        thread.start()


@pytest.fixture
def system() -> Scarce:
    return Scarce(3)


@pytest.fixture
def pool(system: Scarce) -> Iterator[Pool]:
    made = Pool(3, start=system)
    yield made
    made.shutdown()


def names(pool: Pool, count: int) -> set[str]:
    """Have *count* pieces of work meet, and return which threads do them."""
    meeting: queue.SimpleQueue[str] = queue.SimpleQueue()
    bulkhead = threading.Barrier(count)

    def work() -> None:
        bulkhead.wait(60)
        meeting.put(threading.current_thread().name)

    for _ in range(count):
        pool.submit(work)
    return {meeting.get(timeout=60) for _ in range(count)}


def test_all_threads_are_started_before_there_is_work(pool: Pool) -> None:
    pool.fill()

    assert pool.count == 3
    assert names(pool, 3) == {"pool-0", "pool-1", "pool-2"}


def test_a_thread_that_cannot_be_started_is_started_later(
    pool: Pool, system: Scarce, caplog: pytest.LogCaptureFixture
) -> None:
    """The executor of the standard library raises where work is handed over, which ends the worker's loop."""
    system.left = 1
    pool.fill()
    pool.fill()

    assert pool.count == 1
    assert names(pool, 1) == {"pool-0"}
    system.left = 2
    pool.fill()
    assert names(pool, 3) == {"pool-0", "pool-1", "pool-2"}
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_work_that_comes_before_any_thread_is_done_when_there_is_one(pool: Pool, system: Scarce) -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    system.left = 0
    pool.fill()
    pool.submit(done.put, 5)

    assert done.empty()
    system.left = 3
    pool.fill()
    assert done.get(timeout=60) == 5


@pytest.mark.parametrize("error", [ValueError("a defect"), SystemExit(1)])
def test_a_thread_outlives_what_it_is_given(pool: Pool, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    pool.fill()
    for _ in range(3):
        pool.submit(fail)

    assert names(pool, 3) == {"pool-0", "pool-1", "pool-2"}
    assert [record.message for record in caplog.records] == ["a thread of the pool met an error"] * 3


def test_threads_end_when_all_is_done(pool: Pool) -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    pool.fill()
    for number in range(10):
        pool.submit(done.put, number)

    pool.shutdown(wait=True)

    assert done.qsize() == 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pool-")]
