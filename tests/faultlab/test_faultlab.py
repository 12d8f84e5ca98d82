"""The fault lab itself: two scenarios for real, and that a scenario cannot pass by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.faultlab import __main__ as command
from tests.faultlab import guards_off, invariants
from tests.faultlab.client import Ledger, Reply
from tests.faultlab.lab import CannotRun, Ground, Lab
from tests.faultlab.page import page, summary, with_summary
from tests.faultlab.registry import Guard, Scenario, scenarios
from tests.faultlab.runner import FAILED, NOT_RUN, PASSED, Row, read_rows, run, write_rows
from tests.fixtures.programs import ROOT
from tests.fixtures.standin import temporary_folder

#: No time is judged here: other tests use the machine.
PATIENCE = 1000.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with temporary_folder() as folder:
        made = Ground(folder)
        yield made
        made.close()


def of(name: str) -> Scenario:
    return next(each for each in scenarios() if each.id == name)


def made_up(body: Callable[[Lab], None]) -> Scenario:
    guard = Guard(name="none", settings={})
    return Scenario(id="S0", fault="a fault", notices="nothing", bound="a bound", guard=guard, run=body)


@pytest.mark.parametrize("name", ["S8", "S22"])
def test_a_scenario_passes(name: str, ground: Ground) -> None:
    row = run(of(name), ground, seconds=5, patience=PATIENCE)

    assert row["verdict"] == PASSED, row["failures"]
    assert row["fired"] > 0
    assert row["figures"]


def test_a_scenario_fails_without_the_guard_that_it_tests(ground: Ground) -> None:
    row = run(of("S22"), ground, seconds=5, patience=PATIENCE, without_guard=True)

    assert row["verdict"] == FAILED
    assert row["failures"][0].startswith("none is accepted: ")
    assert row["guard"] == "check of signatures and claims"


def fires(lab: Lab) -> None:
    lab.fired("it", 1)


def says_nothing(_: Lab) -> None:
    """A scenario that counts no fault."""


def does_not_fire(lab: Lab) -> None:
    lab.fired("it", 1)
    lab.fired("the other one", 0)


def does_not_hold(lab: Lab) -> None:
    lab.fired("it", 1)
    lab.check("two is one", False, "2")


def is_late(lab: Lab) -> None:
    lab.fired("it", 1)
    lab.within("slowest", [0.1, 3.0], 100, 1.0)


def has_no_times(lab: Lab) -> None:
    lab.fired("it", 1)
    lab.within("slowest", [], 100, 1.0)


def breaks_down(lab: Lab) -> None:
    lab.fired("it", 1)
    raise ValueError("no luck")


def cannot_run(_: Lab) -> None:
    raise CannotRun("no nginx")


def is_skipped(_: Lab) -> None:
    pytest.skip("no redis-server")


@pytest.mark.parametrize(
    ("body", "verdict", "told"),
    [
        (fires, PASSED, None),
        (says_nothing, FAILED, "G6: each fault was seen to happen: no fault was counted"),
        (does_not_fire, FAILED, "G6: each fault was seen to happen: ['the other one']"),
        (does_not_hold, FAILED, "two is one: 2"),
        (is_late, FAILED, "slowest: 3000 ms, allowed 1000 ms"),
        (has_no_times, FAILED, "slowest: 0 ms, allowed 1000 ms"),
        (breaks_down, FAILED, "ValueError in test_faultlab.py"),
        (cannot_run, NOT_RUN, "cannot run here: no nginx"),
        (is_skipped, NOT_RUN, "cannot run here: no redis-server"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_no_scenario_passes_by_accident(
    body: Callable[[Lab], None], verdict: str, told: str | None, ground: Ground
) -> None:
    row = run(made_up(body), ground)

    assert row["verdict"] == verdict
    assert [failure.partition(":1")[0] for failure in row["failures"]][:1] == ([] if told is None else [told]) or (
        told is not None and row["failures"][0].startswith(told)
    )


def test_there_are_42_and_those_of_the_fleet() -> None:
    alone = [each.id for each in scenarios() if not each.is_of_the_fleet]

    assert alone == [f"S{number}" for number in range(1, 43)]


def test_every_guard_can_be_switched_off() -> None:
    for each in scenarios():
        ways = [bool(each.guard.settings), bool(each.guard.patch), bool(each.guard.by_hand)]
        assert sum(ways) == 1, each.id
        assert not each.guard.patch or each.guard.patch in guards_off.PATCHES
    used = {each.guard.patch for each in scenarios()} - {""}
    assert used == set(guards_off.PATCHES)


REPLY: dict[str, Any] = {"type": "about:blank", "title": "x", "status": 503, "code": "busy", "detail": "x"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "complaint"),
    [
        (200, {"x-request-id": "a"}, b"{}", ""),
        (200, {}, b"{}", "no request id (G5)"),
        (500, {"x-request-id": "a"}, b"{}", "a defect (G1)"),
        (400, {"x-request-id": "a"}, b'{"a": "Traceback (most recent call last)"}', "a defect (G1)"),
        (503, {"x-request-id": "a", "retry-after": "1"}, json.dumps(REPLY | {"request_id": "a"}).encode(), ""),
        (503, {"x-request-id": "a"}, json.dumps(REPLY | {"request_id": "a"}).encode(), "no Retry-After (G5)"),
        (
            503,
            {"x-request-id": "b", "retry-after": "1"},
            json.dumps(REPLY | {"request_id": "a"}).encode(),
            "status or request id differ between head and body (G5)",
        ),
        (502, {"x-request-id": "a"}, b"<html>", "no problem document (G5)"),
    ],
)
def test_every_answer_is_looked_at(status: int, headers: dict[str, str], body: bytes, complaint: str) -> None:
    ledger = Ledger(invariants.Contract())

    ledger.note("POST", "/api/v1/auth/login", Reply(status, headers, body, 0.0))

    assert [each.rpartition(": ")[2] for each in ledger.wrong] == ([complaint] if complaint else [])


def test_secrets_in_a_log_are_found() -> None:
    text = '{"a": "canary-of-x"} eyJhbGciOiJFUzI1NiJ9.eyJ sb_secret_abc a@lab.example.com qwertyuiop12'

    assert set(invariants.leaks(text, {"qwertyuiop12"})) == {
        "canary-of-x",
        "eyJhbGciOiJFUz",
        "sb_secret_abc",
        "a@lab.example.",
        "qwerty",
    }
    assert not invariants.leaks('{"path": "/api/v1/auth/login", "status": 200}', {"qwertyuiop12"})


def test_what_is_not_given_back_is_told() -> None:
    start = invariants.Use(20, 50, 100.0, 1)

    assert invariants.grown(start, invariants.Use(30, 55, 110.0, 1)) == ""
    assert invariants.grown(start, invariants.Use(60, 90, 140.0, 1)) == (
        "threads 20 → 60, open files 50 → 90, memory 100 → 140 MiB"
    )


def row(name: str, verdict: str = PASSED, **more: Any) -> Row:
    usual = {"fired": 1, "figures": {"logins": 12}, "failures": ["it failed"], "guard": None, "took_s": 1.0}
    when = {"at": "2026-11-27T01:00:00+00:00", "machine": "2 cores", "commit": "abc", "seconds": 45, "patience": 1}
    return {"id": name, "verdict": verdict, "fault": "a fault", **usual, **when, **more}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scenarios that the command would have run; each passes."""
    names: list[str] = []

    def run_all(chosen: list[Scenario], *, tell: Callable[[Row], None], **_: object) -> None:
        for each in chosen:
            names.append(each.id)
            tell(row(each.id))

    monkeypatch.setattr(command, "run_all", run_all)
    return names


def ask(*options: str) -> int:
    return CliRunner().invoke(command.main, options, catch_exceptions=False).exit_code


def test_only_runs_those_and_keeps_the_other_rows(ran: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_rows(file, [row("S2", FAILED), row("S10")])

    assert ask("--only", "s14,S1", "--json", str(file)) == 0

    assert ran == ["S14", "S1"]
    assert [(each["id"], each["verdict"]) for each in read_rows(file)] == [
        ("S1", PASSED),
        ("S2", FAILED),
        ("S10", PASSED),
        ("S14", PASSED),
    ]


def test_resume_leaves_out_what_has_passed(ran: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_rows(file, [row("S1"), row("S2", FAILED), row("S3", NOT_RUN)])

    assert ask("--only", "S1,S2,S3", "--resume", "--json", str(file)) == 0

    assert ran == ["S2", "S3"]


def test_a_run_without_a_choice_begins_a_new_file(ran: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_rows(file, [row("R1")])

    assert ask("--json", str(file)) == 0

    assert len(ran) == 42
    assert "R1" not in {each["id"] for each in read_rows(file)}


def test_unknown_scenarios_are_refused(ran: list[str]) -> None:
    assert ask("--only", "S99") == 2
    assert ran == []


def test_a_file_is_a_list_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_rows(file, [row("S10"), row("S2")])

    told = json.loads(file.read_text("utf-8"))

    assert [each["id"] for each in told] == ["S2", "S10"]
    assert {"id", "verdict", "fired", "figures"} <= told[0].keys()


def test_the_page_names_every_scenario_with_what_was_measured() -> None:
    text = page([row("S1"), row("S2", FAILED)], [row("S1", FAILED)], scenarios())

    assert "| logins: 12 |" in text
    assert "| **failed**. logins: 12 |" in text
    assert re.search(r"\| S1 \| circuit breaker \| patch `breaker` \| it failed \|", text)
    assert all(f"| {each.id} |" in text for each in scenarios())


def test_the_readme_has_its_line() -> None:
    line = summary([row("S1"), row("R1")], scenarios())
    readme = (ROOT / "README.md").read_text("utf-8")

    assert "42 faults" in line
    assert "1 of 42 passed" in line
    assert line in with_summary(readme, line)
