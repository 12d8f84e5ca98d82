"""What is switched on by a setting and may not be installed."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from tests.conftest import ENVIRONMENT, LogLines
from velro_auth.config.settings import Settings
from velro_auth.wiring import ROUTES, build
from velro_auth.wiring.telemetry import Tracing, wire_sentry, wire_tracing

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
SENTRY = {"SENTRY_DSN": "http://key@127.0.0.1:9000/1"}


def tracing(**environment: str) -> Tracing:
    return wire_tracing(Settings.from_environment(environment), routes=ROUTES, paths={}, excluded=())


def test_without_their_settings_nothing_is_built() -> None:
    assert tracing() == Tracing()
    assert wire_sentry(Settings.from_environment({})) == ()
    assert tracing().tracer is None


def test_with_them_nothing_runs_before_the_service_is_started() -> None:
    """gunicorn forks after the application is built, and no thread survives that."""
    before = set(threading.enumerate())

    parts = build(Settings.from_environment({**ENVIRONMENT, **COLLECTOR, **SENTRY}))

    assert len(parts.state.threads) == len(build(Settings.from_environment(ENVIRONMENT)).state.threads) + 2
    assert not set(threading.enumerate()) - before


def test_a_change_of_settings_keeps_what_draws_and_reports() -> None:
    first = build(Settings.from_environment({**ENVIRONMENT, **COLLECTOR, **SENTRY}))

    second = build(Settings.from_environment({**ENVIRONMENT, **COLLECTOR, **SENTRY, "LOG_LEVEL": "debug"}), first.state)

    assert second.state.tracing is first.state.tracing
    assert second.state.threads is first.state.threads


@pytest.mark.parametrize(
    ("environment", "library", "ours", "extra"),
    [(COLLECTOR, "opentelemetry", "traces", "tracing"), (SENTRY, "sentry_sdk", "sentry", "sentry")],
)
def test_what_is_not_installed_is_said_and_missed_by_nobody(
    environment: dict[str, str],
    library: str,
    ours: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    logs: LogLines,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for module in (ours,):
        monkeypatch.delitem(sys.modules, f"velro_auth.telemetry.{module}", raising=False)

    assert tracing(**environment) == Tracing()
    assert wire_sentry(Settings.from_environment(environment)) == ()
    (record,) = logs.records
    assert vars(record)["variable"] in environment
    assert f"pip install 'velro-auth[{extra}]'" in vars(record)["advice"]


@pytest.mark.parametrize("dsn", ["canary", "http://127.0.0.1/1", "http://canary@127.0.0.1:canary/1"])
def test_an_address_that_is_none_of_sentrys_is_said_without_repeating_it(dsn: str, logs: LogLines) -> None:
    (beside,) = wire_sentry(Settings.from_environment({"SENTRY_DSN": dsn}))

    beside.start()
    beside.stop()

    (record,) = logs.records
    assert (record.levelno, vars(record)["variable"]) == (logging.ERROR, "SENTRY_DSN")
    assert "canary" not in str(logs)


def test_a_variable_that_the_sdk_cannot_use_stops_no_worker(monkeypatch: pytest.MonkeyPatch, logs: LogLines) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    (beside,) = tracing(**COLLECTOR).tasks

    beside.start()
    beside.stop()

    (record,) = [record for record in logs.records if record.name == "velro_auth.telemetry"]
    assert (vars(record)["variable"], vars(record)["error"]) == ("OTEL_EXPORTER_OTLP_ENDPOINT", "ValueError")


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector", "//[collector"])
def test_an_endpoint_that_is_no_address_is_advice_and_stops_no_login(endpoint: str) -> None:
    settings = Settings.from_environment({**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})

    assert not settings.errors
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in {advice.variable for advice in settings.advice}
