"""Logs: one JSON object per line on stdout, from every logger of the process; short lines for a person at a terminal.

Railway reads ``message`` and ``level`` and treats everything on stderr as an error, so nothing is written there.
Workers write through ``sink.Sink``: a stdout that is not read blocks no request.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, cast

from velro_auth.telemetry.sink import Sink, SinkHandler

# structlog would load rich and Pygments for coloured tracebacks, which are never made here: 4 MiB a worker.
_rich = sys.modules.pop("rich", None)
sys.modules["rich"] = cast("Any", None)
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich

#: Loggers that are limited to a level. ``opentelemetry`` repeats every few seconds that the collector is away, and
#: quotes variables that it cannot read; ``traces`` logs that once. Debug lines of the others may hold secrets.
_LEVELS: Final = {
    "opentelemetry": "CRITICAL",
    **dict.fromkeys(("urllib3", "requests", "httpx", "httpcore", "hpack"), "WARNING"),
}

#: Fields that a line at a terminal leaves out while nothing is wrong.
_DETAILS: Final = frozenset(
    {
        *("account", "address", "lane", "logger", "method", "path", "queue_ms", "request_id", "status"),
        *("traceparent", "upstream_ms", "user_agent"),
    }
)


def _shorten(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters in every message, and remove the details from lines that report nothing wrong."""
    event["event"] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in event["event"])
    if event["level"] in {"debug", "info"}:
        return {name: value for name, value in event.items() if name not in _DETAILS}
    return event


class _JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object. Each request has a line, so this takes half the time of structlog."""

    #: What every record has; everything else was added by the caller or by a filter.
    _OWN: Final = frozenset(vars(logging.makeLogRecord({})))
    _encode: Final = staticmethod(json.JSONEncoder(default=repr).encode)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end. A traceback is text: in the structured form, local variables show."""
        line: dict[str, Any] = {
            "logger": record.name,
            "level": record.levelname.lower(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        own = self._OWN
        line |= {name: value for name, value in vars(record).items() if name not in own}
        if record.stack_info:
            line["stack_info"] = record.stack_info
        if record.exc_info and record.exc_info[1]:
            line["exception"] = self.formatException(record.exc_info)
        line["message"] = record.getMessage()
        return self._encode(line)


def _text_formatter() -> structlog.stdlib.ProcessorFormatter:
    console = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=36, timestamp_key="time", repr_native_str=True)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time"),
            structlog.stdlib.ExtraAdder(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # As text: the structured form prints local variables, and one of them may be a password.
            structlog.processors.format_exc_info,
            _shorten,
            console,
        ],
    )


def configuration(level: str = "info", style: str = "json") -> dict[str, Any]:
    """Return the configuration for ``logging.config.dictConfig`` and gunicorn's ``logconfig_dict``.

    Args:
        level: The lowest level that is logged.
        style: ``json`` for programs, ``text`` for people, ``auto`` for text where stdout is a terminal.
    """
    is_text = style == "text" or (style == "auto" and sys.stdout.isatty())
    handler = {"handlers": ["stdout"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": _JsonFormatter}, "text": {"()": _text_formatter}},
        "handlers": {"stdout": {"()": SinkHandler, "formatter": "text" if is_text else "json"}},
        "root": {"handlers": ["stdout"], "level": level.upper()},
        "loggers": {
            "gunicorn.error": {"level": "INFO", **handler},
            # Actions of an operator are logged at every level, like starts and stops of gunicorn's workers.
            "velro_auth.config.reload": {"level": "INFO"},
            "gunicorn.access": {"level": "WARNING", **handler},
            **{name: {"level": limit} for name, limit in _LEVELS.items()},
        },
    }


def set_level(level: str) -> None:
    """Change the lowest level that is logged, in this process and in those forked from it later."""
    logging.getLogger().setLevel(level.upper())


def stdout_sink() -> Sink | None:
    """Return the sink of the root logger; None where logging is not configured."""
    return next((handler.sink for handler in _handlers()), None)


def add_filter(log_filter: logging.Filter) -> None:
    """Pass every line for stdout through *log_filter*, which may add fields."""
    for handler in _handlers():
        handler.addFilter(log_filter)


def _handlers() -> list[SinkHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, SinkHandler)]


def dropped_lines() -> int:
    """Return how many log lines this process could not write."""
    sink = stdout_sink()
    return sink.dropped if sink else 0
