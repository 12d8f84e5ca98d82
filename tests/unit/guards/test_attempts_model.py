"""The counters in memory agree with the model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import SMALL, machine
from velro_auth.guards.attempts import MemoryAttempts


def memory(clock: HandClock) -> MemoryAttempts:
    return MemoryAttempts(limits=SMALL, clock=clock)


def test_memory_agrees_with_the_model_whatever_happens() -> None:
    run_state_machine_as_test(
        machine(memory),
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None),
    )
