"""Fixtures that every part of the tests shares."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import resource
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import hypothesis
import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.fixtures.browser import browser_context, chromium, page
from tests.fixtures.checkout import checkout
from tests.fixtures.redis import own_redis, redis_server
from tests.fixtures.redis_cluster import cluster_group, redis_cluster
from tests.fixtures.redis_sentinel import sentinel_group
from tests.fixtures.routes import compile_routes_once
from tests.fixtures.rude import rude
from tests.fixtures.standin import (
    auth_database,
    migrated,
    new_database,
    new_standin,
    open_folder,
    postgres,
    standin,
    standin_with,
)
from tests.fixtures.tls import authority, tls_rude
from tests.fixtures.typescript import typescript_client
from tests.upstream_double import PROJECT, UpstreamDouble
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

GOOD_LOGIN = {"email": "ada@example.com", "password": "correct horse battery staple"}

#: Canaries: no log line may ever show them.
PUBLISHABLE_KEY = "sb_publishable_canary0123456789"
SECRET_KEY = "sb_secret_canary01234567890123"

ENVIRONMENT = {
    "SUPABASE_URL": PROJECT,
    "SUPABASE_PUBLISHABLE_KEY": PUBLISHABLE_KEY,
    "SUPABASE_SECRET_KEY": SECRET_KEY,
    "CORS_ORIGINS": "https://app.example.com",
    "LOG_PROBES_EVERY": "1",
    "AUTH_FAILURE_FLOOR_MS": "0",
    "AUTH_MAIL_DELAY_MS": "0",
    # "auto" asks Supabase a question of its own before the first login.
    "AUTH_CAPTCHA": "off",
}

# Hundreds of callers at once have their sockets in this process. Many systems give 1,024 files, and more to who asks.
_FILES = 8192
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if resource.RLIM_INFINITY != _soft < _FILES:
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_FILES if _hard == resource.RLIM_INFINITY else min(_FILES, _hard), _hard)
    )

# Both measure the machine that runs the tests, not the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

compile_routes_once()

__all__ = [
    "auth_database",
    "authority",
    "browser_context",
    "checkout",
    "chromium",
    "cluster_group",
    "migrated",
    "new_database",
    "new_standin",
    "open_folder",
    "own_redis",
    "page",
    "postgres",
    "redis_cluster",
    "redis_server",
    "rude",
    "sentinel_group",
    "standin",
    "standin_with",
    "tls_rude",
    "typescript_client",
]

MakeClient: TypeAlias = Callable[..., Client]


def pytest_collection_finish() -> None:
    """Leave the modules and the list of all tests out of the garbage collections.

    They stay to the end. Measured: each full collection walked through them for 0.4 s, once for thirty tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000)


@pytest.fixture
def upstream() -> Iterator[UpstreamDouble]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        double = UpstreamDouble(mock)
        double.answers()
        yield double


@pytest.fixture(params=["fast lane", "flask"])
def lane(request: pytest.FixtureRequest) -> str:
    """Every test of an endpoint runs twice."""
    return str(request.param)


@pytest.fixture
def make_client(lane: str) -> Iterator[MakeClient]:
    """Return a function that builds a client of an app with changed settings; its threads end with the test."""
    with contextlib.ExitStack() as ends:

        def make(**environment: str) -> Client:
            settings = Settings.from_environment({**ENVIRONMENT, **environment})
            service = create_app(settings, fast_lane=lane == "fast lane")
            ends.callback(service.stop)
            return Client(service)

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()


@pytest.fixture
def login(client: Client, upstream: UpstreamDouble) -> Callable[..., TestResponse]:
    """Return a function that logs in, with members of the body changed."""

    def log_in(**changes: Any) -> TestResponse:
        return client.post("/api/v1/auth/login", json={**GOOD_LOGIN, **changes})

    return log_in


class LogLines(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def access(self) -> list[dict[str, Any]]:
        """The access log, as dictionaries."""
        return [vars(record) for record in self.records if record.name == "velro_auth.access"]

    def __str__(self) -> str:
        return "\n".join(json.dumps(vars(record), default=repr) for record in self.records)


@pytest.fixture
def logs() -> Iterator[LogLines]:
    handler = LogLines()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
