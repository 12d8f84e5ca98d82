"""The threads that ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.unit.ops.monitor.records import observed
from tests.waiting import eventually
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.poller import LoginBackoff, Poll, Poller
from velro_auth.ops.monitor.probes import Probe


class Hanging:
    """Answers nothing until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.released = threading.Event()

    def __call__(self, due_s: float) -> Iterator[Observation]:
        self.asked += 1
        self.released.wait(30)
        yield observed(due_s, failure="timeout", target="health")


def well(due_s: float) -> Iterator[Observation]:
    yield observed(due_s, target="ping")


def refused(due_s: float) -> Iterator[Observation]:
    yield Observation(due_s, "login", 1.0, status=401)


def one(target: str, probe: Probe, *, lasts_s: float = 1.0, backoff: LoginBackoff | None = None) -> Poll:
    return Poll(target=target, probe=probe, every_s=0.02, lasts_s=lasts_s, backoff=backoff)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    probe = Hanging()
    yield probe
    probe.released.set()


def test_a_target_that_hangs_holds_up_neither_others_nor_its_own_next_request(hanging: Hanging) -> None:
    poller = Poller([one("health", hanging), one("ping", well)], clock=time.monotonic)
    poller.start()
    try:
        others = [poller.observations.get(timeout=20) for _ in range(20)]
        eventually(lambda: hanging.asked >= 5)
    finally:
        hanging.released.set()
        poller.stop(20)

    assert {observation.target for observation in others} == {"ping"}


def test_what_is_under_way_is_waited_for(hanging: Hanging) -> None:
    """A login that is cut off would leave its session behind."""
    poller = Poller([one("health", hanging)], clock=time.monotonic)
    poller.start()
    eventually(lambda: hanging.asked)
    threading.Timer(0.05, hanging.released.set).start()

    poller.stop(20)

    assert poller.observations.qsize() == hanging.asked


def test_a_stop_waits_no_longer_than_its_limit(hanging: Hanging) -> None:
    poller = Poller([one("health", hanging)], clock=time.monotonic)
    poller.start()
    eventually(lambda: hanging.asked)

    poller.stop(0.01)

    assert poller.observations.empty()


def test_a_backoff_is_kept() -> None:
    poller = Poller(
        [one("login", refused, lasts_s=0.02, backoff=LoginBackoff(3600.0)), one("ping", well)], clock=time.monotonic
    )
    poller.start()
    try:
        found = [poller.observations.get(timeout=20) for _ in range(20)]
    finally:
        poller.stop(20)

    # Two threads: the second may have been on its way when the first was refused.
    assert sum(observation.target == "login" for observation in found) in {1, 2}
