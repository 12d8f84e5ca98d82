"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import Client

from supabase_standin import Standin
from velro_auth.app import create_app
from velro_auth.config.settings import Settings


@pytest.fixture
def gateway_to(lane: str) -> Callable[..., Client]:
    """Return a function that builds a gateway in front of a stand-in, without our own limits and delays."""

    def build(standin: Standin, **environment: str) -> Client:
        settings = Settings.from_environment(
            {
                "SUPABASE_URL": standin.url,
                "SUPABASE_SECRET_KEY": standin.secret_key,
                "AUTH_FAILURE_FLOOR_MS": "0",
                "AUTH_THROTTLE_SCALE": "1000",
                **environment,
            }
        )
        assert not settings.errors
        return Client(create_app(settings, fast_lane=lane == "fast lane"))

    return build
