"""The rollback plan, made without a database."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.unit.ops.checkpoints.samples import applied
from velro_auth.ops.checkpoints.checkpoint import AppliedMigration
from velro_auth.ops.checkpoints.rollback_plan import RollbackPlan, plan_rollback
from velro_auth.ops.database import State, Status
from velro_auth.ops.database.files import Migration


def file(number: int, sql: str = "") -> Migration:
    one = applied(number)
    return Migration(one.version, f"step_{number}", sql or f"-- {number}", "")


def then(*numbers: int) -> tuple[AppliedMigration, ...]:
    return tuple(applied(number, file(number).checksum) for number in numbers)


def now(*numbers: int) -> list[Status]:
    return [
        Status(one.version, one.label, State.APPLIED if one in then(*numbers) else State.PENDING, checksum=one.checksum)
        for one in then(*range(1, 7))
    ]


def numbers(found: Iterable[AppliedMigration | Migration]) -> list[int]:
    return [int(one.version[10:12]) for one in found]


def way(before: Iterable[int], after: Iterable[int], files: Iterable[int] = range(1, 7)) -> RollbackPlan:
    return plan_rollback(then(*before), now(*after), [file(number) for number in files])


@pytest.mark.parametrize(
    ("before", "after", "rolled_back", "applies"),
    [
        ([1, 2, 3], [1, 2, 3], [], []),
        ([1, 2, 3], [1, 2, 3, 4, 5], [5, 4], []),
        ([], [1, 2], [2, 1], []),
        ([1, 2, 3], [1], [], [2, 3]),
        ([1, 2, 3], [], [], [1, 2, 3]),
        ([1, 2, 4], [1, 2, 5], [5], [4]),
        ([1, 3], [1], [], [3]),
        ([], [], [], []),
    ],
)
def test_it_leads_to_exactly_what_was_there(
    before: list[int], after: list[int], rolled_back: list[int], applies: list[int]
) -> None:
    found = way(before, after)

    assert numbers(found.roll_back) == rolled_back
    assert numbers(found.apply) == applies
    assert found.is_empty == (before == after)
    assert found.blockers == found.remarks == ()


def test_nothing_is_taken_back_from_beneath_what_has_to_stay() -> None:
    """What the checkpoint has stays, and may rest on what came later beneath it."""
    found = way([1, 2, 4], [1, 2, 3, 4, 5])

    assert numbers(found.roll_back) == [5]
    assert found.latest_shared == applied(4).version
    [blocker] = found.blockers
    assert blocker.startswith(f"{applied(3).label} was applied since then, but beneath {applied(4).label}")


def test_what_has_no_file_here_or_another_one_is_not_applied_and_nothing_after_it() -> None:
    gone = way([1, 2, 3, 4], [1], files=[1, 2, 4])
    edited = plan_rollback(then(1, 2, 3), now(1), [file(1), file(2, "-- edited"), file(3)])

    assert numbers(gone.apply) == [2]
    assert "its file is not here" in gone.blockers[0]
    assert gone.blockers[1] == f"{applied(4).label} was applied, too, and waits for it"
    assert numbers(edited.apply) == []
    assert "its file here is another one" in edited.blockers[0]


def test_what_the_supabase_cli_applied_has_no_checksum_to_compare() -> None:
    found = plan_rollback([applied(1), applied(2, "")], now(1), [file(1), file(2)])

    assert numbers(found.apply) == [2]


def test_edited_ones_are_reported_and_stand_in_nobodys_way() -> None:
    one, two = then(1, 2)
    statuses = [
        Status(one.version, one.label, State.EDITED, checksum=one.checksum),
        Status(two.version, two.label, State.APPLIED, checksum="f" * 64),
    ]

    found = plan_rollback((one, two), statuses, [file(1, "-- edited"), file(2)])

    assert found.is_empty
    assert found.remarks == (
        f"{two.label} was applied anew since then, with other SQL",
        f"{one.label}: the file here was edited after it was applied; what is applied stays as it was",
    )
