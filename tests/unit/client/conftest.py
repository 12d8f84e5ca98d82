from __future__ import annotations

import pytest

from tests.fixtures.tokens import HandClock
from tests.unit.client.project import Project


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def project() -> Project:
    return Project()
