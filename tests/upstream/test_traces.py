"""What a trace shows of the way to Supabase when that is rough."""

from __future__ import annotations

import uuid

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fixtures.rude import Rude, answer, says, says_and_closes
from velro_auth.errors import UpstreamUnavailable
from velro_auth.telemetry.traces import Traces
from velro_auth.upstream.transport.transport import Transport


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> Traces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    made = Traces(endpoint="http://nowhere", resource={})
    made.use(provider)
    return made


@pytest.fixture
def transport(rude: Rude, traces: Traces) -> Transport:
    return Transport(rude.url, key="k" * 20, pool_size=4, max_body_bytes=1000, tracer=traces)


def ask(transport: Transport) -> None:
    transport.send(transport.prepare("POST", "/auth/v1/token?grant_type=password"), b"{}", {"traceparent": "given"})


def test_a_second_try_is_a_span_of_its_own_and_tells_its_own_name(
    rude: Rude, transport: Transport, traces: Traces, exported: InMemorySpanExporter
) -> None:
    rude.does(says(answer()), says_and_closes(b""), says(answer()))
    ask(transport)

    with traces.request("POST", "login", "/login", ""):
        ask(transport)

    first, second, request = exported.get_finished_spans()
    assert (first.status.is_ok, second.status.is_ok) == (False, True)
    assert first.attributes
    assert first.attributes["error.type"] == "ConnectionError"
    assert first.parent == second.parent == request.context
    for span, sent in zip((first, second), rude.requests[1:], strict=True):
        assert span.context
        assert f"traceparent: 00-{span.context.trace_id:032x}-{span.context.span_id:016x}-".encode() in sent


def test_a_call_beside_all_requests_is_not_drawn(
    rude: Rude, transport: Transport, exported: InMemorySpanExporter
) -> None:
    """Readiness asks every half a minute, whoever looks."""
    rude.does(says(answer()))

    ask(transport)

    assert exported.get_finished_spans() == ()
    assert b"traceparent: given" in rude.requests[0]


def test_an_answer_beyond_the_cap_is_a_failed_call(
    rude: Rude, transport: Transport, traces: Traces, exported: InMemorySpanExporter
) -> None:
    rude.does(says(answer(b"x" * 2000)))

    with traces.request("POST", "login", "/login", ""), pytest.raises(UpstreamUnavailable):
        ask(transport)

    call, _ = exported.get_finished_spans()
    assert call.attributes
    assert call.attributes["error.type"] == "UpstreamUnavailable"
    assert call.events == ()


def test_ids_in_a_path_are_not_in_the_name_of_a_call(
    rude: Rude, transport: Transport, traces: Traces, exported: InMemorySpanExporter
) -> None:
    rude.does(says(answer()))

    with traces.request("POST", "factor_verify", "/factors/<factor_id>/verify", ""):
        transport.send(transport.prepare("POST", f"/auth/v1/factors/{uuid.uuid4()}/verify"), b"{}")

    call, _ = exported.get_finished_spans()
    assert call.name == "POST /auth/v1/factors/{id}/verify"
    assert call.attributes
    assert call.attributes["url.template"] == "/auth/v1/factors/{id}/verify"
