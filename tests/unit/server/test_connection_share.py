"""A worker that has more connections than another one leaves new clients to the others for a moment."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fixtures.tokens import HandClock
from tests.unit.server.test_worker import config
from tests.unit.telemetry.answers import Child
from velro_auth.server.connection_share import LEFT_TO_OTHERS_S, SILENT_S, ConnectionShare
from velro_auth.server.worker import Worker


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@contextlib.contextmanager
def another(share: ConnectionShare, connections: int) -> Iterator[Child]:
    """Run another worker, which has so many connections."""
    child = Child(lambda: share.report(connections))
    try:
        yield child
    finally:
        child.kill()


def test_a_worker_alone_has_more_than_nobody(clock: HandClock) -> None:
    share = ConnectionShare(1, clock=clock)
    share.report(7)

    assert not share.has_more_than_another(7)


def test_a_worker_knows_whether_another_one_has_fewer(clock: HandClock) -> None:
    share = ConnectionShare(2, clock=clock)
    share.report(0)

    with another(share, 3):
        assert [share.has_more_than_another(count) for count in (2, 3, 4)] == [False, False, True]


def test_a_worker_that_was_killed_or_hangs_is_waited_for_no_longer(clock: HandClock) -> None:
    share = ConnectionShare(2, clock=clock)

    with another(share, 0):
        clock.advance(SILENT_S - 0.1)
        assert share.has_more_than_another(1)
        clock.advance(0.1)
        assert not share.has_more_than_another(1)


def test_a_worker_that_stops_is_waited_for_no_longer(clock: HandClock) -> None:
    share = ConnectionShare(2, clock=clock)

    def stop() -> None:
        share.report(0)
        share.leave()

    child = Child(stop)
    try:
        assert not share.has_more_than_another(1)
    finally:
        child.kill()


@pytest.fixture
def worker(clock: HandClock) -> Iterator[Worker]:
    """Return a worker with a listener, to which three clients have connected."""
    made = Worker(1, os.getpid(), [], None, 30, config(), SimpleNamespace())
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made.sockets = [listener]
        made.poller = stack.enter_context(selectors.DefaultSelector())
        made._parser_settings = config_of_parser()
        made._clock, made.connection_share = clock, ConnectionShare(2, clock=clock)
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        yield made
        for conn in list(made._queues.silent):
            made._close(conn)
        made.tmp.close()


def config_of_parser() -> Any:
    return SimpleNamespace(environ_of=lambda *_: {})


def turn(worker: Worker) -> int:
    """Let the worker look for clients once; return how many connections it has."""
    worker._turn(wait_s=min(worker._look_for_clients(), 0))
    return worker.connection_count


def test_a_worker_with_as_few_as_the_others_accepts_until_it_has_more(worker: Worker, clock: HandClock) -> None:
    with another(worker.connection_share, 1):
        # It goes on until it has more: one more than the other.
        assert turn(worker) == 2


def test_what_the_others_do_not_accept_is_accepted_one_by_one(worker: Worker, clock: HandClock) -> None:
    with another(worker.connection_share, 0):
        assert turn(worker) == 1
        assert worker._look_for_clients() == pytest.approx(LEFT_TO_OTHERS_S, abs=1e-6)
        assert turn(worker) == 1

        clock.advance(LEFT_TO_OTHERS_S)
        assert turn(worker) == 2
        clock.advance(LEFT_TO_OTHERS_S)
        assert turn(worker) == 3


def test_a_worker_accepts_all_when_no_other_has_fewer(worker: Worker, clock: HandClock) -> None:
    with another(worker.connection_share, 5):
        assert turn(worker) == 3


def another_knows_fewer_than(share: ConnectionShare, count: int) -> bool:
    """Return whether another process, if it had *count* connections, would leave clients to a worker with fewer."""
    child = os.fork()
    if not child:
        os._exit(int(share.has_more_than_another(count)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_worker_reports_what_it_accepts_and_closes(worker: Worker) -> None:
    share = worker.connection_share

    turn(worker)
    assert not another_knows_fewer_than(share, 3)
    assert another_knows_fewer_than(share, 4)

    worker._close(next(iter(worker._queues.silent)))
    assert another_knows_fewer_than(share, 3)


def test_a_worker_that_stops_reports_no_more(worker: Worker) -> None:
    worker.notify()
    assert another_knows_fewer_than(worker.connection_share, 100)

    worker._stop_accepting()
    worker._close(next(iter(worker._queues.silent)))

    assert not another_knows_fewer_than(worker.connection_share, 100)
