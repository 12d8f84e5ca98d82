"""Traces by OpenTelemetry: a span for each request and, below it, one for each call to Supabase.

Needs the extra ``tracing``; ``wiring.extras`` imports this module where traces are on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace import TracerProvider as AnyProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from velro_auth import __version__
from velro_auth.telemetry.delivery import WatchedExporter
from velro_auth.telemetry.logs import annotate
from velro_auth.telemetry.spans import CallSpan, RequestSpan, SpanNames, failed
from velro_auth.tracing import NULL_CALL, Call

logger = logging.getLogger("velro_auth.telemetry")

#: How long the end of a process waits for its last spans, in seconds.
FLUSH_S: Final = 1.5

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Traces:
    """Draws spans, once started; before that, what it is told goes nowhere.

    Spans wait in a queue of bounded length and are sent by a thread of their own, so that no request waits for
    a collector; beyond the bound they are dropped. The SDK's own variables (``OTEL_BSP_…``,
    ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` and so on) apply.

    Args:
        endpoint: Address of a collector that takes OTLP over HTTP.
        resource: What is said of this process with all its spans.
    """

    def __init__(self, *, endpoint: str, resource: Mapping[str, str]) -> None:
        self._endpoint = endpoint.rstrip("/") + "/v1/traces"
        self._resource = dict(resource)
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._propagator = TraceContextTextMapPropagator()

    def start(self) -> None:
        """Start the thread that sends; call it after a fork, which no thread survives."""
        exporter = WatchedExporter(OTLPSpanExporter(endpoint=self._endpoint))
        provider = TracerProvider(resource=Resource.create(self._resource), shutdown_on_exit=False)
        # Starts the thread, which may fail; then nothing was started.
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._provider = provider
        self.draw_with(provider)

    def draw_with(self, provider: AnyProvider) -> None:
        """Take spans from *provider* from now on, and let log lines name them."""
        self._tracer = provider.get_tracer("velro_auth", __version__)
        annotate(SpanNames())

    def stop(self) -> None:
        """Send what is left, for ``FLUSH_S`` at most."""
        if self._provider is not None:
            # In a thread, because the SDK would wait for 30 s.
            ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
            try:
                ending.start()
            except RuntimeError:
                logger.warning("the last traces were not sent: the system had no thread for that")
                return
            ending.join(FLUSH_S)

    @contextlib.contextmanager
    def request(self, method: str, route: str, path: str, traceparent: str) -> Iterator[RequestSpan]:
        """Draw a request, below the span that *traceparent* names if it names one.

        Args:
            method: The HTTP method.
            route: The name of the endpoint.
            path: The path of the endpoint as documented; empty where there is none.
            traceparent: The header of that name. Its companion ``tracestate`` holds strangers' values and ends here.
        """
        method = method if method in _METHODS else "_OTHER"
        attributes = {"http.request.method": method} | ({"http.route": path} if path else {})
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=self._propagator.extract({"traceparent": traceparent}),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield RequestSpan(span)

    @contextlib.contextmanager
    def call(self, method: str, url: str) -> Iterator[Call]:
        """Draw a call, as part of the request that makes it; calls beside all requests are not shown."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield NULL_CALL
            return
        where = urlsplit(url)
        attributes = {"http.request.method": method, "server.address": where.hostname or "", "url.template": where.path}
        with self._tracer.start_as_current_span(
            f"{method} {where.path}",
            kind=SpanKind.CLIENT,
            attributes=attributes | ({"server.port": where.port} if where.port else {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield CallSpan(span)
            except Exception as error:
                # By name only: the text of an exception may quote what somebody sent.
                failed(span, type(error).__name__)
                raise
