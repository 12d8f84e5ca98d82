"""Log lines: one JSON object each, and nothing in them that was only passing by."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from velro_auth.telemetry.logs import configuration


def line(message: str, *args: object, **extra: Any) -> dict[str, Any]:
    formatter = configuration()["formatters"]["json"]["()"]()
    record = logging.getLogger("velro_auth.test").makeRecord(
        "velro_auth.test", logging.WARNING, __file__, 1, message, args, sys.exc_info(), extra=extra
    )
    text = formatter.format(record)
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
