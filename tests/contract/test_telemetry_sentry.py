"""Which log lines become reports, and what becomes of their exceptions."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.fixtures.collectors import Collector, running_collector
from velro_auth.telemetry.sentry import SentryHandler

logger = logging.getLogger("velro_auth.somewhere")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def defects(collector: Collector) -> Iterator[SentryHandler]:
    made = SentryHandler(f"http://key@{collector.address}/1", release="velro-auth@1")
    made.start()
    yield made
    made.stop()


def fail() -> None:
    try:
        dict[str, int]()["canary"]
    except KeyError as error:
        raise ValueError("canary") from error


def test_a_line_with_a_traceback_is_reported_by_its_kinds_alone(defects: SentryHandler, collector: Collector) -> None:
    try:
        fail()
    except ValueError:
        logger.exception("a job of %s failed", "canary")
    defects.stop()

    (event,) = collector.events
    assert [exception["type"] for exception in event["exception"]["values"]] == ["KeyError", "ValueError"]
    assert (event["logger"], event["logentry"]) == ("velro_auth.somewhere", {"message": "a job of %s failed"})
    # The lines of the source around it are part of the report.
    assert '"value"' not in collector.text
    assert "tags" not in event


def test_other_lines_are_not(defects: SentryHandler, collector: Collector) -> None:
    logger.error("wrong")
    logger.warning("wrong", exc_info=ValueError())
    logging.getLogger("somebody.else").error("wrong", exc_info=ValueError())
    defects.stop()

    assert collector.received == []
