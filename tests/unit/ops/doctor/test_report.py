"""What a run says, to people and to programs."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from velro_auth.health_checks import Finding
from velro_auth.ops.doctor import report
from velro_auth.ops.doctor.checkup import Check, Result, Status
from velro_auth.ops.doctor.fix import FixResult


def result(status: Status, found: str = "found", name: str = "a.a") -> Result:
    check = Check(name=name, what="what", why="the why", fix="the fix", run=lambda _: Finding("pass"))
    return Result(check, status, found, "the fix", 12.34)


def printed(*results: Result) -> str:
    written = io.StringIO()
    console = Console(file=written, width=200)
    for line in report.lines(results):
        console.print(line)
    return written.getvalue()


@pytest.mark.parametrize(("status", "mark"), [("warn", "warn"), ("fail", "FAIL")])
def test_what_is_wrong_is_told_with_why_and_fix(status: Status, mark: str) -> None:
    said = printed(result(status))

    assert f"  {mark}  a.a  found\n        why   the why\n        fix   the fix\n" in said


@pytest.mark.parametrize("status", ["pass", "skip"])
def test_what_is_well_is_one_line(status: Status) -> None:
    assert "why" not in printed(result(status))


def test_groups_have_a_heading_and_the_end_counts() -> None:
    said = printed(result("pass"), result("skip", name="a.longer"), result("warn", name="b.a"))

    assert said.splitlines()[1] == "a"
    assert "\nb\n" in said
    assert said.endswith("\n1 pass, 1 warn, 1 skip\n")


def test_brackets_in_what_was_found_are_no_markup() -> None:
    assert "at [::1]:8000 [red]" in printed(result("pass", "at [::1]:8000 [red]"))


def test_the_document_is_json() -> None:
    at = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
    fixed = FixResult(["one"], ["another"], Path("doctor_rollback.sql"))

    document = json.loads(json.dumps(report.document([result("warn"), result("skip")], fix_result=fixed, at=at)))

    assert document["at"] == "2026-11-25T12:00:00+00:00"
    assert document["status"] == "warn"
    assert document["checks"][0] == {
        "id": "a.a",
        "group": "a",
        "status": "warn",
        "found": "found",
        "why": "the why",
        "mend": "the fix",
        "took_ms": 12.3,
    }
    assert document["fix"] == {"changes": ["one"], "remarks": ["another"], "rollback_file": "doctor_rollback.sql"}
