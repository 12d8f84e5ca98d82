"""How checks are run: none hides another, none takes for ever, none shows a traceback."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from velro_auth.config.settings import Settings
from velro_auth.errors import UpstreamUnavailable
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor import checks, checkup
from velro_auth.ops.doctor.checks import CHECKS, CLIENT_CHECKS
from velro_auth.ops.doctor.checkup import Check, Unknown, overall, skipped_for_lack_of
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable, NotGiven

CASE = DiagnosticContext(settings=Settings.from_environment({}))


def check(name: str, look: Callable[[DiagnosticContext], Finding], *needs: str) -> Check:
    return Check(name=name, what="", why="", fix="the usual fix", run=look, needs=needs)


def says(status: Any, **more: str) -> Callable[[DiagnosticContext], Finding]:
    return lambda _: Finding(status, **more)


def raises(error: Exception) -> Callable[[DiagnosticContext], Finding]:
    def look(_: DiagnosticContext) -> Finding:
        raise error

    return look


def run(*checks: Check, **options: Any) -> dict[str, checkup.Result]:
    return {result.check.name: result for result in checkup.run(checks, CASE, **options)}


def test_a_check_that_breaks_is_a_failure_and_hides_nothing() -> None:
    found = run(check("a.broken", raises(RuntimeError("canary"))), check("a.well", says("pass")))

    assert found["a.broken"].status == "fail"
    assert found["a.broken"].found == "the check itself failed (RuntimeError)"
    assert found["a.well"].status == "pass"


def test_a_trouble_we_know_is_told_in_its_own_words() -> None:
    found = run(check("a.a", raises(UpstreamUnavailable("no connection"))))["a.a"]

    assert (found.status, found.found, found.fix) == ("fail", "no connection", "the usual fix")


def test_what_hangs_has_failed() -> None:
    hang = threading.Event()

    def look(_: DiagnosticContext) -> Finding:
        hang.wait()
        return Finding("pass")

    try:
        found = run(check("a.hangs", look), check("a.well", says("pass")), limit_s=0.05)
    finally:
        hang.set()

    assert (found["a.hangs"].status, found["a.well"].status) == ("fail", "pass")
    assert "no end after" in found["a.hangs"].found


@pytest.mark.parametrize(("first", "second"), [("pass", "pass"), ("warn", "pass"), ("fail", "skip")])
def test_what_a_check_needs_decides_whether_it_runs(first: str, second: str) -> None:
    found = run(check("a.a", says(first)), check("a.b", says("pass"), "a.a"), check("a.c", says("pass"), "a.b"))

    assert (found["a.b"].status, found["a.c"].status) == (second, second)


def test_what_does_not_apply_is_skipped_with_its_reason() -> None:
    found = run(check("a.a", raises(NotApplicable("no Redis"))), check("a.b", says("pass"), "a.a"))

    assert (found["a.a"].status, found["a.a"].found) == ("skip", "no Redis")
    assert (found["a.b"].status, found["a.b"].found) == ("skip", "needs a.a")


def test_a_finding_may_know_a_better_fix() -> None:
    found = run(check("a.a", says("warn", fix="this one")), check("a.b", says("warn")), check("a.c", says("pass")))

    assert [one.fix for one in found.values()] == ["this one", "the usual fix", ""]


def test_only_some_checks_run_with_what_they_need_and_what_is_wrong_there_is_told() -> None:
    asked: list[str] = []

    def noted(name: str, status: Any, *needs: str) -> Check:
        def look(_: DiagnosticContext) -> Finding:
            asked.append(name)
            return Finding(status)

        return check(name, look, *needs)

    checks = (noted("a.a", "pass"), noted("a.b", "warn", "a.a"), noted("a.c", "pass", "a.b"), noted("a.d", "fail"))

    found = run(*checks, only=["a.c"])

    assert asked == ["a.a", "a.b", "a.c"]
    assert list(found) == ["a.b", "a.c"]


def test_a_check_nobody_knows_is_an_error_that_lists_all() -> None:
    with pytest.raises(Unknown, match=r"no check a\.x; there are a\.a"):
        run(check("a.a", says("pass")), only=["a.x"])


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [(["pass", "skip"], "pass"), (["skip"], "pass"), (["warn", "pass"], "warn"), (["warn", "fail", "skip"], "fail")],
)
def test_the_worst_grade_counts_and_what_was_skipped_does_not(statuses: list[Any], worst: str) -> None:
    one = checkup.run([check("a.a", says("pass"))], CASE)[0]

    assert overall(dataclasses.replace(one, status=status) for status in statuses) == worst


def test_names_are_unique_and_each_check_comes_after_those_it_needs() -> None:
    every = (*CHECKS, *CLIENT_CHECKS)
    names = [check.name for check in every]
    groups = [check.group for check in every]

    assert len(set(names)) == len(names) >= 20
    for place, one in enumerate(every):
        assert set(one.needs) <= set(names[:place]), one.name
    # A group is one section of the table.
    assert len(set(groups)) == sum(one != other for one, other in zip(["", *groups], groups, strict=False))


def test_what_was_not_given_is_told_with_every_check_that_needs_it() -> None:
    lacking = raises(NotGiven("no account", give="AN_ACCOUNT"))
    results = checkup.run(
        [
            check("a.login", lacking),
            check("a.token", says("pass"), "a.login"),
            check("a.role", says("pass"), "a.token"),
            check("b.reachable", raises(NotGiven("no database", give="A_DATABASE"))),
            check("c.railway", raises(NotApplicable("no Railway"))),
            check("c.drain", says("pass"), "c.railway"),
        ],
        CASE,
    )

    assert skipped_for_lack_of(results) == {
        "AN_ACCOUNT": ["a.login", "a.token", "a.role"],
        "A_DATABASE": ["b.reachable"],
    }
    assert results[0].found == "no account: give AN_ACCOUNT"


def test_what_cannot_be_looked_at_because_something_is_broken_lacks_nothing() -> None:
    results = checkup.run(
        [
            check("a.login", raises(NotGiven("no account", give="AN_ACCOUNT"))),
            check("b.broken", says("fail")),
            check("b.next", says("pass"), "a.login", "b.broken"),
        ],
        CASE,
    )

    assert skipped_for_lack_of(results) == {"AN_ACCOUNT": ["a.login"]}


def test_each_check_has_its_texts_and_each_text_its_check() -> None:
    assert checks._RUNS.keys() == checks._TEXTS.keys()
    assert {key for text in checks._TEXTS.values() for key in text} == {"what", "why", "fix", "needs"}
