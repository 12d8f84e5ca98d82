"""Files beside history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.history import Applied
from velro_auth.ops.database.plan import MigrationPlan, State

ONE, TWO, THREE = (Migration(f"2026010100000{n}", f"m{n}", f"up {n}", f"down {n}") for n in (1, 2, 3))


def applied(migration: Migration) -> Applied:
    return Applied(
        migration.version,
        migration.name,
        migration.checksum,
        migration.down_sql,
        datetime(2026, 1, 1, tzinfo=UTC),
        "postgres",
    )


def history(*migrations: Migration) -> dict[str, Applied]:
    return {migration.version: applied(migration) for migration in migrations}


def test_each_migration_has_its_state() -> None:
    edited = replace(TWO, up_sql="another")
    plan = MigrationPlan([ONE, edited], history(ONE, TWO, THREE), frozenset())

    assert [one.state for one in plan.statuses()] == [State.APPLIED, State.EDITED, State.NEWER]


def test_what_is_in_no_history_is_pending() -> None:
    assert [one.state for one in MigrationPlan([ONE, TWO], history(ONE), frozenset()).statuses()] == [
        State.APPLIED,
        State.PENDING,
    ]


OPTIONAL = replace(TWO, is_optional=True)


def test_an_optional_migration_is_applied_only_when_it_is_named() -> None:
    plan = MigrationPlan([ONE, OPTIONAL, THREE], history(ONE), frozenset())

    assert [one.state for one in plan.statuses()] == [State.APPLIED, State.NOT_ASKED_FOR, State.PENDING]
    assert [one.state.is_applied for one in plan.statuses()] == [True, False, False]
    assert plan.to_apply(to=None, wanted=(), again=False) == [THREE]
    assert plan.to_apply(to=None, wanted=["m2"], again=False) == [OPTIONAL, THREE]
    assert plan.to_apply(to=None, wanted=(), again=True) == [ONE, THREE]
    assert plan.to_apply(to=ONE.version, wanted=["m2"], again=False) == []
    assert plan.to_roll_back(only="m2") == []
    with pytest.raises(DatabaseError, match="m3"):
        plan.to_apply(to=None, wanted=["m3"], again=False)


def test_an_optional_migration_that_is_applied_is_like_the_others() -> None:
    plan = MigrationPlan([ONE, OPTIONAL, THREE], history(ONE, OPTIONAL, THREE), frozenset())

    assert plan.to_apply(to=None, wanted=["m2"], again=False) == []
    assert plan.to_apply(to=None, wanted=(), again=True) == [ONE, OPTIONAL, THREE]
    assert [one.version for one in plan.to_roll_back(only="m2")] == [OPTIONAL.version]
    assert [one.version for one in plan.to_roll_back(steps=2)] == [THREE.version, OPTIONAL.version]


def test_an_edited_file_is_refused_by_name() -> None:
    plan = MigrationPlan([replace(ONE, up_sql="another")], history(ONE), frozenset())

    with pytest.raises(DatabaseError, match="20260101000001_m1"):
        plan.refuse_edited()


def test_what_the_supabase_cli_applied_can_be_adopted_and_taken_back() -> None:
    plan = MigrationPlan([ONE, TWO], history(ONE), frozenset({TWO.version, "20200101000000"}))

    assert plan.only_in_cli_history() == [TWO]
    assert [one.version for one in plan.to_roll_back(steps=9)] == [TWO.version, ONE.version]
    assert plan.statuses()[1].applied_by == "supabase cli"


def test_the_way_back_is_newest_first() -> None:
    plan = MigrationPlan([ONE, TWO, THREE], history(ONE, TWO, THREE), frozenset())

    assert [one.version for one in plan.to_roll_back(steps=2)] == [THREE.version, TWO.version]
    assert [one.version for one in plan.to_roll_back(to=ONE.version)] == [THREE.version, TWO.version]


def test_there_is_no_way_back_to_what_was_never_applied() -> None:
    with pytest.raises(DatabaseError, match=f"Migration {TWO.version} is not applied"):
        MigrationPlan([ONE, TWO], history(ONE), frozenset()).to_roll_back(to=TWO.version)
