"""A clock moved by hand, for what looks at one."""

from __future__ import annotations

import pytest

from tests.unit.guards.clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
