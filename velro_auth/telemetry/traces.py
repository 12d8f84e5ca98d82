"""Traces by OpenTelemetry: one span per request and, below it, one per call to Supabase.

Spans hold only what this module sets: no query, no body, no header, no address of a caller, no account. Needs the
extra ``tracing``; ``wiring.telemetry`` imports this module only where traces are on.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace import TracerProvider as AnyProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from velro_auth import __version__
from velro_auth.context import RequestContext
from velro_auth.telemetry.logs import add_filter
from velro_auth.telemetry.telemetry import Routes
from velro_auth.upstream.transport.tracing import Call

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger("velro_auth.telemetry")

#: How long the end of a process waits for its last spans, in seconds.
FLUSH_S: Final = 1.5

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_FAILED: Final = 500

#: An id in a path: names of spans must be few.
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Traces:
    """Makes spans, after ``start``; before that they are not recorded.

    Spans wait in a bounded queue and a thread sends them, so no request waits for a collector; beyond the bound they
    are dropped. The SDK's own variables (``OTEL_BSP_…``, ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` and
    so on) apply.

    Args:
        endpoint: Address of a collector that accepts OTLP over HTTP.
        resource: Attributes of this process, sent with all its spans.
    """

    def __init__(self, *, endpoint: str, resource: Mapping[str, str]) -> None:
        self._endpoint = endpoint.rstrip("/") + "/v1/traces"
        self._resource = dict(resource)
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._propagator = TraceContextTextMapPropagator()

    def start(self) -> None:
        """Start the thread that sends; call it after a fork, which threads do not survive."""
        exporter = LoggedExporter(OTLPSpanExporter(endpoint=self._endpoint))
        provider = TracerProvider(resource=Resource.create(self._resource), shutdown_on_exit=False)
        # This starts the thread, which may fail; then nothing is started.
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._provider = provider
        self.use(provider)

    def use(self, provider: AnyProvider) -> None:
        """Make spans with *provider* from now on, and add their identifiers to log lines."""
        self._tracer = provider.get_tracer("velro_auth", __version__)
        add_filter(_SpanFields())

    def stop(self) -> None:
        """Send the remaining spans, waiting at most ``FLUSH_S``."""
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
    def request(self, method: str, route: str, path: str, traceparent: str) -> Iterator[Span]:
        """Make the span of a request, below the span that *traceparent* names, if any.

        *path* is the documented path of the endpoint, or empty. ``tracestate`` is not used: it holds strangers' values.
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
            yield span

    @contextlib.contextmanager
    def call(self, method: str, url: str) -> Iterator[Call | None]:
        """Make the span of a call, below the request that makes it; calls outside of requests get none."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield None
            return
        where = urlsplit(url)
        path = _ID.sub("{id}", where.path)
        attributes = {"http.request.method": method, "server.address": where.hostname or "", "url.template": path}
        with self._tracer.start_as_current_span(
            f"{method} {path}",
            kind=SpanKind.CLIENT,
            attributes=attributes | ({"server.port": where.port} if where.port else {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _CallSpan(span)
            except Exception as error:
                # Only the name: the text of an exception may quote user input.
                _mark_failed(span, type(error).__name__)
                raise


class _CallSpan:
    """The span of a call to Supabase."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def headers(self) -> Mapping[str, str]:
        """The W3C trace context of this span."""
        context = self._span.get_span_context()
        return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}

    def answered(self, status: int) -> None:
        """Set the status. A refused password is a healthy answer, so only 5xx is a failure."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAILED:
            _mark_failed(self._span, str(status))


class TracingMiddleware:
    """The outermost WSGI layer where traces are on: makes a span for each request.

    Args:
        app: The middleware; it attaches the request context to the environ before it answers.
        paths: Name of an endpoint → its documented path.
        excluded: Names of the endpoints that get no spans.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        traces: Traces,
        routes: Routes,
        paths: Mapping[str, str],
        excluded: Collection[str],
    ) -> None:
        self._app = app
        self._traces = traces
        self._routes = routes
        self._paths = dict(paths)
        self._excluded = frozenset(excluded)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        route = self._routes.name(environ.get("PATH_INFO", ""))
        if route in self._excluded:
            return self._app(environ, start_response)
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        path = self._paths.get(route, "")
        with self._traces.request(environ["REQUEST_METHOD"], route, path, traceparent) as span:

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
                _describe_response(span, int(status[:3]), RequestContext.of(environ))
                return start_response(status, headers, *rest)

            return self._app(environ, start)


class LoggedExporter(SpanExporter):
    """Logs once when spans cannot be delivered, and once when they are again; the SDK logs it every few seconds."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver *spans*; they are lost if that fails."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                logger.warning("traces cannot be delivered", extra={"variable": "OTEL_EXPORTER_OTLP_ENDPOINT"})
            self._lost += len(spans)
        elif self._lost:
            logger.info("traces are delivered again", extra={"lost_spans": self._lost})
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Close the connection to the collector."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver all waiting spans."""
        return self._exporter.force_flush(timeout_millis)


class _SpanFields(logging.Filter):
    """Adds the identifiers of the current span to every log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        vars(record).update(_identifiers(trace.get_current_span()))
        return True


def _identifiers(span: Span) -> Mapping[str, str]:
    """Return the identifiers of *span* for the log; none outside of every span."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _describe_response(span: Span, status: int, context: RequestContext) -> None:
    span.set_attributes(
        {
            "http.response.status_code": status,
            "velro_auth.lane": context.lane,
            "velro_auth.outcome": context.outcome,
            "velro_auth.request_id": context.request_id,
        }
    )
    if isinstance(delayed_ms := context.log_fields.get("held_ms"), float):
        span.set_attribute("velro_auth.held_ms", delayed_ms)
    if context.queue_ms is not None:
        span.set_attribute("velro_auth.queue_ms", context.queue_ms)
    if status >= _FAILED:
        _mark_failed(span, context.outcome)
    # For the access log, which is written after the response is sent, when this span has ended.
    context.log_fields |= _identifiers(span)


def _mark_failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
