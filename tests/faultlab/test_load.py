"""The comparison of times with and without a fault."""

from __future__ import annotations

import time

import pytest

from tests.faultlab.client import Reply
from tests.faultlab.load import AFTERWARDS_S, Load, Turns


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
