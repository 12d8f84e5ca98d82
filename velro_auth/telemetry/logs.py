"""Logs: one JSON object per line on stdout, from every logger of the process; short lines for a person at a terminal.

Railway reads ``message`` and ``level`` and takes everything on stderr for an error, so nothing goes there. Workers
write through ``sink.Sink``: a stdout that nobody reads holds up no request.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from typing import Any, Final

import structlog

from velro_auth.telemetry.sink import Sink, SinkHandler

#: Says every few seconds that a collector is away, and quotes variables it cannot read; ``delivery`` says it once.
_MUTE: Final = "opentelemetry"

#: Loggers that say little of use, or whose debug lines hold what must not be logged.
_MODEST: Final = ("urllib3", "requests", "httpx", "httpcore", "hpack", "flask_limiter", "flask-limiter")


#: What a line at a terminal leaves out while nothing is wrong: the message says it, or only a program wants it.
_DETAILS: Final = frozenset(
    {
        "account",
        "address",
        "lane",
        "logger",
        "method",
        "path",
        "queue_ms",
        "request_id",
        "status",
        "traceparent",
        "upstream_ms",
        "user_agent",
    }
)


def _brief(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave the details out of lines that report nothing wrong, and control characters out of every message."""
    event["event"] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in event["event"])
    if event["level"] in {"debug", "info"}:
        return {name: value for name, value in event.items() if name not in _DETAILS}
    return event


def _formatter(
    *last: structlog.typing.Processor, time_format: str = "iso", is_utc: bool = True
) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt=time_format, utc=is_utc, key="time"),
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # As text: the structured form prints local variables, and one of them may be a password.
            structlog.processors.format_exc_info,
            *last,
        ],
    )


def _json_formatter() -> structlog.stdlib.ProcessorFormatter:
    return _formatter(structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer())


def _text_formatter() -> structlog.stdlib.ProcessorFormatter:
    console = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=36, timestamp_key="time", repr_native_str=True)
    return _formatter(_brief, console, time_format="%H:%M:%S", is_utc=False)


def configuration(level: str = "info", style: str = "json") -> dict[str, Any]:
    """Return what ``logging.config.dictConfig`` and gunicorn's ``logconfig_dict`` take.

    Args:
        level: The least important level that is logged.
        style: ``json`` for programs, ``text`` for people, ``auto`` for text where stdout is a terminal.
    """
    is_text = style == "text" or (style == "auto" and sys.stdout.isatty())
    handler = {"handlers": ["stdout"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": _json_formatter}, "text": {"()": _text_formatter}},
        "handlers": {"stdout": {"()": SinkHandler, "formatter": "text" if is_text else "json"}},
        "root": {"handlers": ["stdout"], "level": level.upper()},
        "loggers": {
            "gunicorn.error": {"level": "INFO", **handler},
            # What an operator did is said at every level, as gunicorn's own comings and goings are.
            "velro_auth.config.reload": {"level": "INFO"},
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
