"""Fixtures of the tests that run programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.gateway_lab import VerifyEndpoint, project_server
from tests.system.gateway_site import KEY


@pytest.fixture
def verify() -> Iterator[VerifyEndpoint]:
    """What decides behind a proxy: the real application."""
    with project_server(KEY) as url:
        yield VerifyEndpoint(url)
