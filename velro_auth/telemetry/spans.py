"""What spans hold: what is listed here and in ``traces``, and nothing else.

No query, no body, no header, no address of a caller, no account.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from velro_auth.context import RequestContext
from velro_auth.telemetry.answered import HELD_MS

_FAILED: Final = 500


class RequestSpan:
    """The span of a request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int, context: RequestContext) -> None:
        """Note the answer."""
        self._span.set_attributes(
            {
                "http.response.status_code": status,
                "velro_auth.lane": context.lane,
                "velro_auth.outcome": context.outcome,
                "velro_auth.request_id": context.request_id,
            }
        )
        if isinstance(held := context.notes.get(HELD_MS), float):
            self._span.set_attribute("velro_auth.held_ms", held)
        if context.queue_ms is not None:
            self._span.set_attribute("velro_auth.queue_ms", context.queue_ms)
        if status >= _FAILED:
            failed(self._span, context.outcome)
        # For the line of the access log, which is written when this span has ended and the answer has left.
        context.notes |= names_of(self._span)


class CallSpan:
    """The span of a call."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def headers(self) -> Mapping[str, str]:
        """The W3C trace context that names this span."""
        context = self._span.get_span_context()
        return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}

    def answered(self, status: int) -> None:
        """Note the status. A refused password is a healthy answer, so only 5xx is a failure."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAILED:
            failed(self._span, str(status))


class SpanNames(logging.Filter):
    """Adds the identifiers of the present span to every log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        vars(record).update(names_of(trace.get_current_span()))
        return True


def names_of(span: Span) -> Mapping[str, str]:
    """Return the identifiers of *span* as logs call them; none outside of every span."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def failed(span: Span, kind: str) -> None:
    """Mark *span* as a failure of some *kind*."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
