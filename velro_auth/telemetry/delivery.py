"""Says once that spans cannot be delivered, and once that they are again; the SDK would say it every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("velro_auth.telemetry")


class WatchedExporter(SpanExporter):
    """Passes spans on and logs when that stops or starts to work.

    Args:
        exporter: Who delivers.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Have *spans* delivered; those that cannot be are lost."""
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
        """Let go of the collector."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have everything delivered that waits."""
        return self._exporter.force_flush(timeout_millis)
