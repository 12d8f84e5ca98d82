"""Log lines: one JSON object each, and nothing in them that was only passing by."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from unittest.mock import Mock

import pytest

from velro_auth.telemetry import logs
from velro_auth.telemetry.logs import SinkHandler, configuration, log_access, set_level
from velro_auth.telemetry.sink import Sink


def formatted(style: str, level: int, message: str, *args: object, **extra: Any) -> str:
    settings = configuration(style=style)
    formatter = settings["formatters"][settings["handlers"]["stdout"]["formatter"]]["()"]()
    record = logging.getLogger("velro_auth.test").makeRecord(
        "velro_auth.test", level, __file__, 1, message, args, sys.exc_info(), extra=extra
    )
    return str(formatter.format(record))


def line(message: str, *args: object, **extra: Any) -> dict[str, Any]:
    text = formatted("json", logging.WARNING, message, *args, **extra)
    assert "\n" not in text
    return dict(json.loads(text))


def test_a_line_has_what_railway_reads_and_what_was_added() -> None:
    told = line("%s happened", "it", status=200)

    assert (told["message"], told["level"], told["status"]) == ("it happened", "warning", 200)
    assert told["time"].endswith("Z")


def test_a_traceback_shows_no_local_variables() -> None:
    """One of them may be a password."""

    def fail(password: str) -> None:
        assert password
        raise ValueError("told")

    # Put together, so that the source lines of the traceback do not show it either.
    canary = "mine-the-in-bird"[::-1]
    try:
        fail(canary)
    except ValueError:
        told = line("failed")

    assert "ValueError: told" in told["exception"]
    assert canary not in json.dumps(told)


def test_what_a_stranger_sends_cannot_break_a_line() -> None:
    hostile = 'a"}\n{"level": "error"\x1b[31m\x00\u2028'

    assert line("%s", hostile, user_agent=hostile)["user_agent"] == hostile


def test_a_line_holds_what_was_added_in_order_and_what_json_cannot_hold_as_text() -> None:
    told = line("%s", "it", outcome="ok", held={1})

    assert list(told) == ["logger", "level", "time", "outcome", "held", "message"]
    assert told["held"] == "{1}"


ANSWERED = {"request_id": "ab" * 16, "method": "POST", "path": "/x", "took_ms": 62.3, "user_agent": "curl/8"}


def test_a_line_for_a_person_is_short() -> None:
    told = formatted("text", logging.INFO, "POST /x 200", **ANSWERED)

    assert "POST /x 200" in told
    assert "took_ms=62.3" in told
    assert len(told) < 100


def test_a_line_for_a_person_keeps_the_details_where_something_is_wrong() -> None:
    told = formatted("text", logging.WARNING, "POST /x 503", **ANSWERED)

    assert "ab" * 16 in told
    assert "curl/8" in told


def test_a_terminal_gets_no_control_characters_of_a_stranger() -> None:
    hostile = "a\x1b[31m\r\nb\x07\u2028"

    told = formatted("text", logging.WARNING, "GET /%s 404", hostile, user_agent=hostile)

    assert told.isprintable()
    assert "\\x1b" in told


@pytest.mark.parametrize(("is_terminal", "style"), [(True, "text"), (False, "json")])
def test_a_terminal_gets_text_and_a_pipe_gets_json(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, style: str
) -> None:
    monkeypatch.setattr(sys, "stdout", Mock(isatty=lambda: is_terminal))

    assert configuration(style="auto")["handlers"]["stdout"]["formatter"] == style


class _ListSink:
    """Keeps the lines that it is given."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> bool:
        self.lines.append(text)
        return True

    def flush(self) -> None:
        """Wait for nothing."""


@pytest.fixture(autouse=True)
def same_level() -> Iterator[None]:
    level = logging.root.level
    yield
    logging.root.setLevel(level)


def be_the_only_handler(monkeypatch: pytest.MonkeyPatch) -> SinkHandler:
    """Return the only handler of the root logger, as in production. Called in a test: pytest adds its own before it."""
    settings = configuration()
    handler = SinkHandler(cast("Sink", _ListSink()))
    handler.setFormatter(settings["formatters"]["json"]["()"]())
    monkeypatch.setattr(logging.root, "handlers", [handler])
    set_level("info")
    return handler


def access_lines(handler: SinkHandler) -> list[dict[str, Any]]:
    return [dict(json.loads(text)) for text in cast("_ListSink", handler.sink).lines]


def without_time(line_: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in line_.items() if name != "time"]


def test_a_line_of_the_access_log_is_the_same_on_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter takes the line the long way, as that of the traces does."""
    handler = be_the_only_handler(monkeypatch)
    fields = {"status": 200, "path": "/é", "user_agent": 'a"b', "took_ms": 1.5}

    def add_field(record: logging.LogRecord) -> bool:
        record.trace_id = "added"
        return True

    log_access(logging.INFO, "GET /é 200", fields)
    handler.addFilter(add_field)
    log_access(logging.INFO, "GET /é 200", fields)

    short, long = access_lines(handler)
    assert long.pop("trace_id") == "added"
    assert without_time(short) == without_time(long)
    assert datetime.fromisoformat(short["time"]) <= datetime.fromisoformat(long["time"])


def test_whatever_else_hears_of_a_request_goes_on_hearing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = be_the_only_handler(monkeypatch)
    heard: list[str] = []

    class Second(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    second = Second()
    for logger in (logging.root, logging.getLogger("velro_auth.access")):
        logger.addHandler(second)
        log_access(logging.INFO, "GET / 200", {})
        logger.removeHandler(second)
    log_access(logging.ERROR, "GET / 500", {})

    assert heard == ["GET / 200", "GET / 200"]
    assert [told["level"] for told in access_lines(handler)] == ["info", "info", "error"]


def test_a_level_that_is_not_logged_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = be_the_only_handler(monkeypatch)
    set_level("warning")

    log_access(logging.INFO, "GET / 200", {})

    assert access_lines(handler) == []


def test_the_short_way_to_write_a_line_writes_what_the_usual_one_writes() -> None:
    fields = {"a": '\u202e\n"é\ud800', "b": 1.5, "c": [1, {"d": None}], "e": {1}, "f": True, "g": "x" * 9}

    assert logs._encode(fields) == json.JSONEncoder(default=repr).encode(fields)


def test_where_python_has_no_such_encoder_the_usual_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = json.encoder.c_make_encoder  # type: ignore[attr-defined]

    def other(markers: object, *rest: object) -> object:
        return usual(markers, *rest) if markers is not None else lambda *_: ("wrong",)

    for inner in (None, other):
        monkeypatch.setattr(json.encoder, "c_make_encoder", inner)
        assert logs._encoder()({"a": 1}) == '{"a": 1}'
