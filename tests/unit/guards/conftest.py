"""A clock moved by hand, and guards that look at it."""

from __future__ import annotations

import pytest

from tests.unit.guards.clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
