"""A clock moved by hand, and the back-off of a store that a test module makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.unit.guards.clock import HandClock
from velro_auth.stores.client import StoreBackoff


class Probed(Protocol):
    """A store of a test."""

    def probe(self) -> None:
        """Raise an error while it is away."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def backoff(store: Probed) -> Iterator[StoreBackoff]:
    """The back-off of the fixture ``store``."""
    made = StoreBackoff(probe=store.probe)
    yield made
    made.close()
