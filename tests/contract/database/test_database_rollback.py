"""The way back, by the runner and by hand."""

from __future__ import annotations

import psycopg
import pytest

from tests.contract.database.project import Project
from velro_auth.ops.database import Runner, State
from velro_auth.ops.database.catalogue import snapshot
from velro_auth.ops.database.connection import connected
from velro_auth.ops.database.errors import (
    DatabaseError,
    MigrationFailed,
)
from velro_auth.ops.database.files import load, shipped

FILES = load(shipped())

VERSIONS = [migration.version for migration in FILES]


def states(project: Project) -> list[State]:
    return [one.state for one in project.runner().status()]


def test_each_step_back_is_the_step_before(project: Project) -> None:
    """One migration at a time, there and back, so that a rollback can stop anywhere."""
    snapshots = [snapshot_of(project)]
    for version in VERSIONS:
        project.runner().up(to=version)
        snapshots.append(snapshot_of(project))

    for version, before in zip(VERSIONS[::-1], snapshots[-2::-1], strict=True):
        [step] = project.runner().down(drop_data=True)
        assert step.version == version
        assert snapshot_of(project) == before


def snapshot_of(project: Project) -> dict[str, str]:
    """Return our own catalogue, but for this: a constraint that was validated stays so."""
    with connected(project.dsn(), print) as connection:
        found = snapshot(connection)
    return {name: value.replace("not validated", "holds") for name, value in found.items()}


def test_down_keeps_the_data_unless_asked(project: Project) -> None:
    """A rollback in a hurry must not cost anybody's credits; the kept table is closed."""
    project.migrated()
    user = project.sign_up("ada@example.com")
    project.sql("update public.users set credits_balance = 7")

    at_stake = project.runner().droppable_data(VERSIONS)
    project.runner().down(steps=99)

    assert at_stake == ["table public.users (1 rows)", "type public.user_role"]
    assert project.sql("select id, credits_balance from public.users") == [(user, 7)]
    with project.api("authenticated", user) as api, pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute("select * from public.users")
    project.sign_up("bob@example.com")

    project.runner().up()
    assert project.runner().verify()[0].subject == "users without a row in public.users"
    project.runner().down(steps=99, drop_data=True)
    assert project.sql("select to_regclass('public.users'), to_regnamespace('velro_auth')") == [(None, None)]


DOCUMENTED = """
DROP TRIGGER IF EXISTS on_auth_user_created ON auth.users;
DROP FUNCTION IF EXISTS public.handle_new_auth_user();
DROP POLICY IF EXISTS "Users can view self" ON public.users;
DROP POLICY IF EXISTS "Users can insert self" ON public.users;
DROP POLICY IF EXISTS "Users can update self" ON public.users;
"""


@pytest.mark.parametrize(
    ("statements", "user"),
    [(DOCUMENTED, "supabase_admin"), ("DROP FUNCTION IF EXISTS public.handle_new_auth_user() CASCADE", "postgres")],
)
def test_the_documented_rollback_by_hand_works_and_can_be_mended(project: Project, statements: str, user: str) -> None:
    """The former backend documented it; postgres may drop its own function, but no trigger of auth.users."""
    ada = project.migrated().sign_up("ada@example.com")

    project.sql(statements, user=user)
    bob = project.sign_up("bob@example.com")

    assert project.profile(ada) is not None
    assert project.profile(bob) is None
    assert project.runner().verify() != []
    project.runner().up(again=True)
    project.runner().backfill()
    assert project.profile(bob) is not None
    assert project.runner().verify() == []


def test_down_uses_the_stored_way_back(project: Project) -> None:
    """After a rollback of the code the newer files are gone; the database still knows."""
    project.migrated()

    Runner(project.dsn(), migrations=FILES[:2]).down(steps=3)

    assert states(project)[-4:] == [State.PENDING] * 3 + [State.NOT_ASKED_FOR]
    assert project.sql("select to_regproc('velro_auth.custom_access_token_hook')") == [(None,)]


def test_down_to_a_version_takes_back_what_is_newer(project: Project) -> None:
    project.migrated()

    steps = project.runner().down(to=VERSIONS[2])

    assert [step.version for step in steps] == VERSIONS[:2:-1]
    with pytest.raises(DatabaseError, match=f"Migration {VERSIONS[4]} is not applied"):
        project.runner().down(to=VERSIONS[4])


def test_what_is_dropped_is_not_dropped_under_somebody(project: Project) -> None:
    """Other tables may refer to ours by now; the whole step is rolled back."""
    project.migrated()
    project.sql("create table public.posts (author uuid references public.users)")
    project.runner().down(to=VERSIONS[2])
    before = project.dump()

    with pytest.raises(MigrationFailed, match="drop what depends on it first"):
        project.runner().down(drop_data=True)

    assert project.dump() == before
