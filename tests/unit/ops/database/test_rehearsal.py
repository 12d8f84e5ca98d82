"""What a rehearsal before the migrations and one after them say together."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from velro_auth.ops.database.rehearsal import Problem, Rehearsal, Trigger

THEIRS = Trigger("profile", "public.handle_new_user()")
CONTEXT = (
    'SQL statement "insert into public.users (id) values (new.id)"\n'
    "PL/pgSQL function public.handle_new_user() line 2 at SQL statement\n"
    'SQL statement "insert into auth.users …"\n'
    "PL/pgSQL function pg_temp_3.velro_auth_step(text,text,uuid) line 40 at EXECUTE"
)
TWICE = Problem("duplicate key value", "23505", "public.users", CONTEXT)
RULE = Problem("only with an invitation.", "P0001", "", "PL/pgSQL function public.invited() line 1 at RAISE")


def rehearsal(
    steps: Mapping[str, Problem | None], rows: Mapping[str, frozenset[str] | None] | None = None
) -> Rehearsal:
    return Rehearsal(steps, rows or {}, (THEIRS,))


def test_what_worked_and_works_no_longer_is_a_regression_with_its_trigger() -> None:
    before, after = rehearsal({"mail: sign-up": None}), rehearsal({"mail: sign-up": TWICE})

    [regression] = after.regressions_since(before)

    assert regression.trigger == THEIRS
    assert "(mail: sign-up) fails in the trigger profile, which calls public.handle_new_user()" in regression.sentence
    assert "duplicate key value (23505)" in regression.sentence
    assert "--adopt" in regression.sentence


@pytest.mark.parametrize("former", [{"mail: sign-up": RULE}, {}], ids=["failed", "not rehearsed"])
def test_what_did_not_work_before_is_not_lost(former: dict[str, Problem | None]) -> None:
    """A rule of the project that refuses the rehearsed user must not keep the migrations out."""
    assert list(rehearsal({"mail: sign-up": TWICE}).regressions_since(rehearsal(former))) == []


def test_a_right_that_is_taken_away_on_purpose_is_not_lost() -> None:
    """The migration warns with the names of the columns."""
    step = "mail: profile update of nickname"
    denied, hidden = Problem("permission denied", "42501", "", ""), Problem("no own row", "P0001", "", "")

    assert list(rehearsal({step: denied}).regressions_since(rehearsal({step: None}))) == []
    assert [regression.step for regression in rehearsal({step: hidden}).regressions_since(rehearsal({step: None}))] == [
        step
    ]


def test_values_that_a_row_has_no_longer_are_lost() -> None:
    """A function of the project that filled them was replaced."""
    step: dict[str, Problem | None] = {"mail: sign-up": None}
    before = rehearsal(step, {"mail": frozenset({"id", "nickname"})})

    [regression] = rehearsal(step, {"mail": frozenset({"id", "email"})}).regressions_since(before)
    [gone] = rehearsal(step, {"mail": None}).regressions_since(before)

    assert regression.reason == "no value in nickname"
    assert gone.reason == "no value in id, nickname"
    assert list(rehearsal(step, {"mail": frozenset({"id", "nickname", "email"})}).regressions_since(before)) == []


@pytest.mark.parametrize(
    ("problem", "is_ours"),
    [
        (TWICE, True),
        (RULE, False),
        (Problem("x", "23502", "", "PL/pgSQL function velro_auth.mirror_users(uuid[]) line 5"), True),
        (Problem("x", "23505", "auth.users", ""), False),
        (
            Problem("x", "23502", "public.teams", "PL/pgSQL function pg_temp_3.velro_auth_step(text,text,uuid) line 5"),
            False,
        ),
    ],
)
def test_a_rule_of_the_project_is_told_from_a_clash_with_ours(problem: Problem, *, is_ours: bool) -> None:
    [found] = rehearsal({"mail: sign-up": problem}).failures()

    assert found.is_ours is is_ours


def test_the_trigger_is_the_outermost_function_of_the_project() -> None:
    """What it calls is its own affair."""
    inner = f"PL/pgSQL function public.add_row(uuid) line 1\n{CONTEXT}"

    [found] = rehearsal({"mail: sign-up": Problem("x", "23505", "public.users", inner)}).failures()

    assert found.trigger == THEIRS


def test_a_function_that_no_trigger_of_auth_users_calls_is_named() -> None:
    """The message of an assertion names nothing."""
    context = (
        "PL/pgSQL function public.undo() line 1 at ASSERT\nPL/pgSQL function pg_temp_3.velro_auth_step(text) line 4"
    )

    [found] = rehearsal({"mail: deletion": Problem("assertion failed", "P0004", "", context)}).failures()

    assert found.found == "fails in the function public.undo(): assertion failed (P0004)"
