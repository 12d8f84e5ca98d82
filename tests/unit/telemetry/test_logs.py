"""Log lines: one JSON object each, and nothing in them that was only passing by."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any
from unittest.mock import Mock

import pytest

from velro_auth.telemetry.logs import configuration


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
