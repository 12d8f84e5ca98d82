"""Logs: one JSON object per line on stdout, from every logger of the process.

Railway reads ``message`` and ``level`` and takes everything on stderr for an error, so nothing goes there. Workers
write through ``sink.Sink``: a stdout that nobody reads holds up no request.
"""

from __future__ import annotations

import logging
import logging.config
from typing import Any, Final

import structlog

from velro_auth.telemetry.sink import Sink, SinkHandler

#: Says every few seconds that a collector is away, and quotes variables it cannot read; ``delivery`` says it once.
_MUTE: Final = "opentelemetry"

#: Loggers that say little of use, or whose debug lines hold what must not be logged.
_MODEST: Final = ("urllib3", "requests", "httpx", "httpcore", "hpack", "flask_limiter", "flask-limiter")


def _formatter() -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # As text: the structured form prints local variables, and one of them may be a password.
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    )


def configuration(level: str = "info") -> dict[str, Any]:
    """Return what ``logging.config.dictConfig`` and gunicorn's ``logconfig_dict`` take.

    Args:
        level: The least important level that is logged.
    """
    handler = {"handlers": ["stdout"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": _formatter}},
        "handlers": {"stdout": {"()": SinkHandler, "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level.upper()},
        "loggers": {
            "gunicorn.error": {"level": "INFO", **handler},
            # What an operator did is said at every level, as gunicorn's own comings and goings are.
            "velro_auth.reload": {"level": "INFO"},
            "gunicorn.access": {"level": "WARNING", **handler},
            **{name: {"level": "WARNING"} for name in _MODEST},
            _MUTE: {"level": "CRITICAL"},
        },
    }


def configure(level: str = "info") -> None:
    """Send every logger of this process to stdout as JSON."""
    logging.config.dictConfig(configuration(level))


def set_level(level: str) -> None:
    """Change the least important level that is logged, in this process and those forked from it later."""
    logging.getLogger().setLevel(level.upper())


def stdout_sink() -> Sink | None:
    """Return what the root logger writes through; None where nobody configured it."""
    return next((handler.sink for handler in _handlers()), None)


def annotate(notes: logging.Filter) -> None:
    """Let *notes* see every line that goes to stdout, to add fields to it."""
    for handler in _handlers():
        handler.addFilter(notes)


def _handlers() -> list[SinkHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, SinkHandler)]


def dropped_lines() -> int:
    """Return how many log lines this process could not write; for a metric."""
    sink = stdout_sink()
    return sink.dropped if sink else 0
