"""The comparison of times with and without a fault."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faultlab.client import Reply
from tests.faultlab.load import AFTERWARDS_S, Load, Turns, independent, one_each

Schedule = Callable[[float, random.Random], Iterator[tuple[int, float]]]


def replies(took_s: float, at_s: float) -> list[Reply]:
    return [Reply(200, {}, b"", took_s, at_s)] * 20


@pytest.mark.parametrize(("slow_s", "is_lasting"), [(0.02, False), (0.1, False), (0.5, True)])
def test_a_damage_that_lasts_is_noticed(slow_s: float, *, is_lasting: bool) -> None:
    """The comparison in turn alone cannot: the times without a fault are slow too."""
    load = Load(lambda _number, _due_s: Reply(0, {}, b"", 0.0), rps=1.0, seed=1)
    turns = Turns(load)
    load.replies += replies(0.02, time.monotonic())
    with turns.fault():
        load.replies += replies(slow_s, time.monotonic())
    load.replies += replies(slow_s, time.monotonic() + AFTERWARDS_S / 2)

    assert [reply.took_s for reply in turns.during()] == [slow_s] * 20
    assert [reply.took_s for reply in turns.usual()] == [0.02] * 20
    assert turns.has_lasting_damage() == is_lasting


@pytest.mark.parametrize(("schedule", "has_bursts"), [(one_each, False), (independent, True)])
def test_without_bursts_there_is_one_request_in_each_interval(schedule: Schedule, *, has_bursts: bool) -> None:
    before_s = time.monotonic()
    due_s = [at_s for _, at_s in itertools.islice(schedule(10.0, random.Random(1)), 200)]  # noqa: S311 - no secret
    began_s = (before_s, time.monotonic())

    is_one_each = all(
        began_s[0] + number / 10 <= at_s <= began_s[1] + (number + 1) / 10 for number, at_s in enumerate(due_s)
    )

    assert is_one_each is not has_bursts
