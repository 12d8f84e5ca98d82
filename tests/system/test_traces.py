"""Traces and reports of defects, as the other side receives them from a running gateway."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.collectors import Collector, Span, running_collector
from tests.fixtures.programs import Program, free_port, gateway
from velro_auth import __version__

LOGIN = "/api/v1/auth/login"
PASSWORD = "correct horse battery staple"
SERVER, CLIENT = 2, 3
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Story:
    """What a gateway with traces was asked, and what everybody saw of it."""

    lane: str
    spans: list[Span]
    lines: list[dict[str, Any]]
    upstream: list[tuple[str, str]]

    def of(self, request_id: str) -> tuple[Span, list[Span]]:
        """Return the span of a request and those below it."""
        (span,) = [span for span in self.spans if span.attributes.get("velro_auth.request_id") == request_id]
        return span, [child for child in self.spans if child.parent_id == span.span_id]

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the access log's line of a request."""
        (line,) = [line for line in self.lines if line.get("request_id") == request_id]
        return line


def settings(standin: Standin, **changes: str) -> dict[str, str]:
    return {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "UPSTREAM_DEADLINE_S": "1",
        "AUTH_THROTTLE_SCALE": "1000",
        "AUTH_FAILURE_FLOOR_MS": "20",
        "LOG_PROBES_EVERY": "1",
        **changes,
    }


def log_in(running: Program, email: str, password: str = PASSWORD, **headers: str) -> int:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"email": email, "password": password}
    return requests.post(running.url + LOGIN, json=body, headers=fields, timeout=10).status_code


@pytest.fixture(scope="session")
def email(standin_with: Callable[..., Standin]) -> str:
    address = f"traces-{random.getrandbits(48):x}@example.com"
    standin_with().create_user(address, PASSWORD)
    return address


@pytest.fixture(scope="session")
def tell(standin_with: Callable[..., Standin], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Story]:
    """Return a function that lets the story of a lane happen once."""
    return functools.cache(lambda lane, email: _tell(lane, email, standin_with(), tmp_path_factory.mktemp("traces")))


@pytest.fixture(params=["fast", "flask"])
def story(request: pytest.FixtureRequest, tell: Callable[..., Story], email: str) -> Story:
    return tell(request.param, email)


def _tell(lane: str, email: str, standin: Standin, folder: Path) -> Story:
    options = {
        "AUTH_FAST_LOGIN": "1" if lane == "fast" else "0",
        "RAILWAY_ENVIRONMENT_NAME": "staging",
        "RAILWAY_REPLICA_ID": "replica-7",
    }
    standin.requests.clear()
    with (
        running_collector() as collector,
        gateway(folder / "log", **settings(standin, **options, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)) as running,
    ):
        _act(running, standin, email)
        running.stop()
    asked = [(asked.path, asked.headers.get("traceparent", "")) for asked in standin.requests]
    standin.faults.clear()
    return Story(lane, collector.spans, [json.loads(line) for line in running.output.splitlines()], asked)


def _act(running: Program, standin: Standin, email: str) -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"
    assert log_in(running, email, X_Request_ID="good", traceparent=traceparent, tracestate="a=canary") == 200
    assert log_in(running, email, "wrong", X_Request_ID="wrong") == 401
    assert log_in(running, email, X_Request_ID="unsampled", traceparent=traceparent[:-1] + "0") == 200
    for fault in ("html", "hang"):
        standin.faults.on(fault, path="/auth/v1/token", times=1)
        assert log_in(running, email, X_Request_ID=fault) == 503
    answers = [requests.get(running.url + path, timeout=10) for path in ("/health", "/api/v1/auth/ping", "/canary")]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    requests.request("PROPFIND", running.url + LOGIN, headers={"X-Request-ID": "odd"}, timeout=10)


def test_a_login_is_a_span_that_continues_the_callers_trace(story: Story) -> None:
    span, _ = story.of("good")

    assert (span.name, span.kind, span.failed) == ("POST login", SERVER, False)
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": LOGIN,
        "http.response.status_code": 200,
        "velro_auth.lane": story.lane,
        "velro_auth.outcome": "ok",
        "velro_auth.request_id": "good",
    }


def test_the_calls_to_supabase_are_its_children(story: Story) -> None:
    """Off the fast lane a login reads the profile row too, which this project has no table for."""
    _, children = story.of("good")

    calls = {"POST /auth/v1/token"} | ({"GET /rest/v1/users"} if story.lane == "flask" else set())
    assert {child.name for child in children} == calls
    for child in children:
        method, _, path = child.name.partition(" ")
        assert (child.kind, child.trace_id, child.failed) == (CLIENT, TRACE, False)
        assert child.attributes.pop("server.port") > 0
        assert child.attributes == {
            "http.request.method": method,
            "server.address": "127.0.0.1",
            "url.template": path,
            "http.response.status_code": 200 if path == "/auth/v1/token" else 404,
        }


def test_supabase_is_told_the_span_that_calls_it(story: Story) -> None:
    _, children = story.of("good")

    for child in children:
        path = child.name.partition(" ")[2]
        assert (path, f"00-{TRACE}-{child.span_id}-01") in story.upstream


def test_a_refused_password_is_no_failure_of_anybody(story: Story) -> None:
    span, (child,) = story.of("wrong")

    assert (span.attributes["velro_auth.outcome"], span.attributes["http.response.status_code"]) == (
        "invalid_credentials",
        401,
    )
    assert span.attributes["velro_auth.held_ms"] >= 0
    assert (span.failed, child.failed) == (False, False)
    assert child.attributes["http.response.status_code"] == 400


@pytest.mark.parametrize(
    ("fault", "outcome", "kind"),
    [("html", "upstream_unavailable", "502"), ("hang", "upstream_timeout", "ReadTimeout")],
)
def test_trouble_with_supabase_marks_both_spans(story: Story, fault: str, outcome: str, kind: str) -> None:
    span, (child,) = story.of(fault)

    assert (span.failed, child.failed) == (True, True)
    assert (span.attributes["error.type"], child.attributes["error.type"]) == (outcome, kind)
    assert (span.events, child.events) == (0, 0), "an event would hold the text of an exception"


def test_a_caller_who_does_not_sample_is_not_drawn_but_passed_on(story: Story) -> None:
    assert "unsampled" not in {span.attributes.get("velro_auth.request_id") for span in story.spans}
    assert any(value.startswith(f"00-{TRACE}-") and value.endswith("-00") for _, value in story.upstream)


def test_probes_are_not_drawn_and_strangers_choose_no_names(story: Story) -> None:
    assert {span.name for span in story.spans if span.kind == SERVER} == {"POST login", "GET other", "_OTHER login"}
    assert "canary" not in repr(story.spans)


def test_log_lines_name_their_span(story: Story) -> None:
    span, _ = story.of("good")
    line = story.line("good")

    assert (line["trace_id"], line["span_id"]) == (TRACE, span.span_id)
    assert "trace_id" not in next(line for line in story.lines if line.get("path") == "/health")


def test_spans_say_who_drew_them(story: Story) -> None:
    resource = story.spans[0].resource

    assert resource["service.name"] == "velro-auth"
    assert resource["service.version"] == __version__
    assert resource["service.instance.id"] == "replica-7"
    assert resource["deployment.environment.name"] == "staging"
    assert not any(name.startswith(("process.", "host.")) for name in resource)


def test_a_collector_that_refuses_costs_no_login_and_one_line(standin: Standin, email: str, tmp_path: Path) -> None:
    options = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
    }
    with gateway(tmp_path / "log", **settings(standin, **options)) as running:
        for _ in range(3):
            assert log_in(running, email) == 200
        running.wait_for("traces cannot be delivered")
        assert log_in(running, email) == 200
        assert running.stop() == 0

    assert running.output.count("traces cannot be delivered") == 1
    assert not [line for line in running.output.splitlines() if json.loads(line)["logger"].startswith("opentelemetry")]


def test_a_collector_that_hangs_holds_up_neither_logins_nor_the_end(
    standin: Standin, email: str, tmp_path: Path
) -> None:
    """The SDK itself would wait for 30 s at the end; the queue is bounded, so it fills and is not waited for."""
    with running_collector() as collector:
        collector.hangs = True
        options = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "SENTRY_DSN": f"http://key@{collector.address}/1",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2",
        }
        with gateway(tmp_path / "log", app="tests.fixtures.defective:app", **settings(standin, **options)) as running:
            statuses = [log_in(running, email, password) for password in ("boom", *[PASSWORD] * 10)]
            assert collector.arrived.wait(10)
            started_s = time.monotonic()
            assert running.stop() == 0
            took_s = time.monotonic() - started_s

    assert statuses == [500] + [200] * 10
    assert took_s < 15


@pytest.fixture(scope="module")
def reports(
    standin_with: Callable[..., Standin], email: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """What Sentry got from a gateway, with two workers, that met all sorts of trouble and two defects."""
    standin = standin_with()
    options = {
        "RAILWAY_ENVIRONMENT_NAME": "staging",
        "RAILWAY_GIT_COMMIT_SHA": "0123abcd",
        "AUTH_THROTTLE_SCALE": "0.1",
        "WEB_CONCURRENCY": "2",
    }
    with running_collector() as collector:
        environment = settings(standin, **options, SENTRY_DSN=f"http://key@{collector.address}/1")
        log = tmp_path_factory.mktemp("defects") / "log"
        with gateway(log, app="tests.fixtures.defective:app", **environment) as running:
            assert log_in(running, email, "first-boom", X_Request_ID="first") == 500
            assert log_in(running, f"2{email}", "second-boom", X_Request_ID="second") == 500
            standin.faults.on("html", path="/auth/v1/token", times=1)
            assert log_in(running, f"3{email}", "wrong") == 503
            refused = {log_in(running, f"4{email}", "wrong") for _ in range(40)}
            assert refused == {401, 429}
            running.stop()
        standin.faults.clear()
        yield collector


def test_sentry_is_told_of_defects_and_of_nothing_else(reports: Collector) -> None:
    assert len(reports.received) == len(reports.events) == 2
    assert {event["tags"]["request_id"] for event in reports.events} == {"first", "second"}


def test_a_report_holds_the_traceback_and_nothing_of_the_request(reports: Collector, email: str) -> None:
    event = reports.events[0]
    exception = event["exception"]["values"][-1]
    frames = exception["stacktrace"]["frames"]

    assert exception["type"] == "ZeroDivisionError"
    assert {"value", "vars"}.isdisjoint(exception.keys() | {key for frame in frames for key in frame})
    assert frames[-1]["function"] == "sign_in"
    assert event["release"] == f"velro-auth@{__version__}+0123abcd"
    assert event["environment"] == "staging"
    assert event["logentry"]["message"] == "unexpected error"
    assert event.keys() <= {
        *("event_id", "timestamp", "level", "logger", "logentry", "platform", "release", "environment"),
        *("server_name", "sdk", "tags", "exception", "_meta"),
    }
    for word in (email, "-boom", "X-Request-ID", "127.0.0.1", "python-requests"):
        assert word not in reports.text
