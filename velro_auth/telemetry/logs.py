"""Logs: one JSON object per line on stdout, from every logger of the process; short lines for a person at a terminal.

Railway reads ``message`` and ``level`` and treats everything on stderr as an error, so nothing is written there.
Workers write through ``sink.Sink``: a stdout that is not read blocks no request.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from velro_auth.telemetry.sink import GATHER_S, Sink

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


class SinkHandler(logging.Handler):
    """Writes log records to a sink: by default to stdout."""

    def __init__(self, sink: Sink | None = None) -> None:
        super().__init__()
        self.sink: Final = sink or Sink(gather_s=GATHER_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write a record."""
        try:
            self.sink.write(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: a line that cannot be formatted raises nothing
            self.handleError(record)

    def flush(self) -> None:
        """Wait a short time for the last lines; logging calls this when the process ends."""
        self.sink.flush()


_access_log: Final = logging.getLogger("velro_auth.access")


class _AccessRecord(logging.LogRecord):
    """A record of the access log.

    ``logging`` would look up the code line, thread, process and task that log. Our lines do not show them, and the
    look-up takes as long as all else about a line.
    """

    _usual: Final = vars(logging.makeLogRecord({"name": _access_log.name}))

    def __init__(self, level: int, message: str, fields: Mapping[str, Any]) -> None:
        now_s, name = time.time(), logging.getLevelName(level)
        vars(self).update(self._usual, msg=message, levelno=level, levelname=name, created=now_s, **fields)


def log_access(level: int, message: str, fields: Mapping[str, Any]) -> None:
    """Log one request, with *fields* as further attributes of the record."""
    if not _access_log.isEnabledFor(level):
        return
    if level == logging.INFO and (sink := _only_sink()):
        # Half of the time of a record that goes through all loggers and handlers (measured).
        now = {"logger": _access_log.name, "level": "info", "time": _time(time.time())}
        sink.write(_encode({**now, **fields, "message": message}))
    else:
        _access_log.handle(_AccessRecord(level, message, fields))


def _only_sink() -> Sink | None:
    """Return where lines of the access log go, if nothing else sees them and they are JSON; None otherwise."""
    handlers = logging.root.handlers
    if len(handlers) != 1 or _access_log.handlers or _access_log.filters or not _access_log.propagate:
        return None
    (handler,) = handlers
    if type(handler) is not SinkHandler or type(handler.formatter) is not _JsonFormatter or handler.filters:
        return None
    return handler.sink


def _shorten(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters in every message, and remove the details from lines that report nothing wrong."""
    event["event"] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in event["event"])
    if event["level"] in {"debug", "info"}:
        return {name: value for name, value in event.items() if name not in _DETAILS}
    return event


@functools.lru_cache(maxsize=4)
def _to_the_second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().removesuffix("+00:00")


def _encoder() -> Callable[[Mapping[str, Any]], str]:
    """Return what ``JSONEncoder(default=repr).encode`` returns, without making its inner encoder anew for each line.

    That takes half of the time of a line (measured). Where Python has another inner encoder, the usual way is taken.
    """
    usual = json.JSONEncoder(default=repr).encode
    probe = {"text": "é\n", "number": 1.5, "other": {1}, "none": None}
    try:
        # Not documented: no check for cycles, no indent, the separators, unsorted, all keys, NaN too.
        inner = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, repr, json.encoder.encode_basestring_ascii, None, ": ", ", ", *(False, False, True)
        )
        is_right = "".join(inner(probe, 0)) == usual(probe)
    except (AttributeError, TypeError):
        return usual
    return (lambda fields: "".join(inner(fields, 0))) if is_right else usual


_encode: Final = _encoder()


def _time(created_s: float) -> str:
    """Return a time for the log, in UTC."""
    second = int(created_s)
    return f"{_to_the_second(second)}.{int((created_s - second) * 1_000_000):06d}Z"


class _JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object. Each request has a line, so this takes half the time of structlog."""

    #: What every record has; everything else was added by the caller or by a filter.
    _OWN: Final = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end. A traceback is text: in the structured form, local variables show."""
        own = self._OWN
        fields = {name: value for name, value in vars(record).items() if name not in own}
        if record.stack_info:
            fields["stack_info"] = record.stack_info
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = self.formatException(record.exc_info)
        fields["message"] = record.getMessage()
        own_fields = {"logger": record.name, "level": record.levelname.lower(), "time": _time(record.created)}
        return _encode({**own_fields, **fields})


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
