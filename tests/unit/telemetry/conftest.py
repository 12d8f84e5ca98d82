"""A clock moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.telemetry.answers import Child, HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], object]], Child]]:
    """Return a function that forks a child; all of them are gone at the end."""
    children: list[Child] = []

    def start(work: Callable[[], object]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield start
    for child in children:
        try:
            child.kill()
        except (ProcessLookupError, ChildProcessError):
            continue
