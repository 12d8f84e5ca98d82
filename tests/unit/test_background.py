"""A background thread that the system refused is started later, and is missed by no request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import LogLines
from tests.fixtures.threads import out_of_threads
from tests.unit.telemetry.answers import Child
from tests.waiting import eventually
from velro_auth.background import Background

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Work:
    """What a thread does until it is told to end; counts its threads."""

    def __init__(self) -> None:
        self.begun = 0
        self.is_over = threading.Event()
        self.background = Background(self, name="work")

    def __call__(self) -> None:
        self.begun += 1
        self.is_over.wait(60)

    def end(self) -> None:
        self.is_over.set()
        self.background.end(60)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.end()


def messages(logs: LogLines) -> list[str]:
    return [record.getMessage() for record in logs.records if record.name == "velro_auth.background"]


def test_it_starts_once_however_many_ask(work: Work) -> None:
    callers = [threading.Thread(target=work.background.ensure) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    eventually(lambda: work.begun == 1)
    assert work.background.is_running
    assert [thread.name for thread in threading.enumerate()].count("work") == 1


def test_a_thread_that_the_system_refused_is_started_by_the_next_call_and_said_once(work: Work, logs: LogLines) -> None:
    with out_of_threads():
        assert [work.background.ensure() for _ in range(3)] == [False] * 3
    assert not work.background.is_running

    assert work.background.ensure()

    eventually(lambda: work.begun == 1)
    assert messages(logs) == [
        "a background thread could not be started: trying again",
        "a background thread runs again",
    ]


@pytest.mark.parametrize("failed_before", [True, False])
def test_who_looks_after_it_starts_only_what_failed_to_start(work: Work, *, failed_before: bool) -> None:
    """Otherwise a process that wants no such thread would get one."""
    if failed_before:
        with out_of_threads():
            work.background.ensure()

    work.background.retry()

    assert work.background.is_running is failed_before


def test_a_thread_that_died_is_replaced(work: Work) -> None:
    work.is_over.set()
    work.background.ensure()
    eventually(lambda: work.begun == 1 and not work.background.is_running)
    work.is_over.clear()

    assert work.background.ensure()

    eventually(lambda: work.begun == 2)


@pytest.mark.parametrize("restart", [Background.ensure, Background.retry])
def test_what_has_ended_does_not_start_again(work: Work, restart: Callable[[Background], object]) -> None:
    with out_of_threads():
        work.background.ensure()
    work.end()

    restart(work.background)

    assert not work.background.is_running


def test_a_forked_process_starts_its_own(work: Work) -> None:
    work.background.ensure()
    eventually(lambda: work.begun == 1)

    def child() -> None:
        assert not work.background.is_running
        assert work.background.ensure()
        eventually(lambda: work.begun == 2)

    with work.background._lock:  # as another thread of the parent may have it at that moment
        forked = Child(child)
    forked.kill()
