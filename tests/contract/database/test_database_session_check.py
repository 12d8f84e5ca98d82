"""The optional session check: off unless asked for, called by the data API, and beside a function of the project."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from tests.contract.database.conftest import MakeProject
from tests.contract.database.project import Project
from tests.contract.database.test_database_sessions import begin, claims
from velro_auth.ops.database import State
from velro_auth.ops.database.errors import DatabaseError, MigrationRefused
from velro_auth.ops.database.files import load_all, shipped

CHECK = "20261126120100_session_check"
NAME = "public.velro_auth_check_session"
OPTION = ["session-check"]

#: A function of the project's own.
OWN = "create function public.own_check() returns void language plpgsql as $$ begin {} end $$;"
OURS = f"perform {NAME}();"


def setting(project: Project) -> str | None:
    """Return what the data API would call: a setting for the database before one for all databases."""
    rows = project.sql(
        "select split_part(one, '=', 2) from pg_db_role_setting s, unnest(s.setconfig) one"
        " where s.setrole = 'authenticator'::regrole and one like 'pgrst.db_pre_request=%'"
        " and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))"
        " order by s.setdatabase desc limit 1"
    )
    return rows[0][0] if rows else None


def set_own(project: Project, body: str = "") -> None:
    project.sql(OWN.format(body))
    project.sql(f"alter role authenticator in database {project.name} set pgrst.db_pre_request = 'public.own_check'")


def check(project: Project, role: str, user: uuid.UUID | None = None, **more: Any) -> str:
    """Call the function as the data API does, and return ``ok`` or the SQLSTATE."""
    with project.api(role, user, **more) as api:
        try:
            api.execute(f"select {NAME}()".encode())
        except psycopg.Error as error:
            return str(error.sqlstate)
    return "ok"


@pytest.fixture
def checked(migrated: Project) -> Project:
    migrated.runner().up(wanted=OPTION)
    return migrated


def test_it_is_off_unless_asked_for(migrated: Project) -> None:
    runner = migrated.runner()

    assert (runner.plan(), runner.up(), runner.verify(), setting(migrated)) == ([], [], [], None)
    assert [one.state for one in runner.status()][-1] is State.NOT_ASKED_FOR
    assert [step.label for step in runner.plan(wanted=OPTION)] == [CHECK]
    assert setting(migrated) is None


def test_asked_for_it_is_applied_known_and_rolled_back_alone(migrated: Project) -> None:
    runner, before = migrated.runner(), migrated.dump()

    assert [step.label for step in runner.up(wanted=OPTION)] == [CHECK]
    assert setting(migrated) == NAME
    assert runner.up(wanted=OPTION) == []
    assert {one.state for one in runner.status()} == {State.APPLIED}
    assert runner.verify() == []
    assert [step.label for step in runner.up(again=True)][-1] == CHECK

    assert [step.label for step in runner.down(only="session-check")] == [CHECK]
    assert setting(migrated) is None
    assert migrated.dump() == before
    assert runner.down(only="session-check") == []
    assert runner.verify() == []


def test_a_new_project_may_get_everything_at_once(make_project: MakeProject) -> None:
    project = make_project("new")
    before = project.dump()

    steps = project.runner().up(wanted=OPTION)

    assert [step.label for step in steps] == [one.label for one in load_all(shipped())]
    assert project.runner().verify() == []
    project.runner().down(steps=99, drop_data=True)
    assert (project.dump(), setting(project)) == (before, None)


def test_an_unknown_name_is_refused_with_those_that_there_are(migrated: Project) -> None:
    calls: Sequence[Callable[[], object]] = (
        lambda: migrated.runner().up(wanted=["sesion-check"]),
        lambda: migrated.runner().down(only="users"),
    )
    for call in calls:
        with pytest.raises(DatabaseError, match="session-check"):
            call()


def test_a_token_is_refused_when_its_session_is_gone(checked: Project) -> None:
    ada, bob = checked.sign_up(), checked.sign_up()
    mine, foreign = begin(checked, ada), begin(checked, bob)
    late = begin(checked, ada, ends="2020-01-01")

    assert check(checked, "authenticated", ada, **claims(mine)) == "ok"
    for gone in (uuid.uuid4(), foreign, late):
        assert check(checked, "authenticated", ada, **claims(gone)) == "PT401"
    for odd in ("", "none", None, 7):
        assert check(checked, "authenticated", ada, session_id=odd) == "PT401"
    checked.sql("delete from auth.sessions where id = %s", mine, user="supabase_admin")
    assert check(checked, "authenticated", ada, **claims(mine)) == "PT401"


def test_tokens_without_a_session_pass(checked: Project) -> None:
    """API keys, tokens that a project signs itself, and no token at all."""
    assert check(checked, "anon") == "ok"
    assert check(checked, "service_role") == "ok"
    assert check(checked, "authenticated", uuid.uuid4()) == "ok"
    with checked.connected("authenticator") as connection:
        connection.execute("set role anon")
        connection.execute(f"select {NAME}()".encode())


@pytest.mark.parametrize("where", ["in database {}", ""])
def test_a_function_of_the_project_stays_and_is_asked_to_call_ours(migrated: Project, where: str) -> None:
    """Also where it is set for the role in all databases, as in Supabase's examples."""
    migrated.sql(OWN.format("null;"))
    target = where.format(migrated.name)
    migrated.sql(f"alter role authenticator {target} set pgrst.db_pre_request = 'public.own_check'")
    notices: list[str] = []
    try:
        migrated.runner(on_notice=notices.append).up(wanted=OPTION)

        assert setting(migrated) == "public.own_check"
        [notice] = notices
        assert "not checked yet" in notice
        assert f"your function public.own_check before each request; add a line to it: {OURS}" in notice
        [difference] = migrated.runner().verify()
        assert difference.found == "public.own_check, which does not call ours"

        migrated.sql(OWN.format(OURS).replace("create", "create or replace"))
        assert migrated.runner().verify() == []
        with pytest.raises(MigrationRefused, match=r"own_check.*calls ours.*Remove the line"):
            migrated.runner().down(only="session-check")

        migrated.sql(OWN.format("null;").replace("create", "create or replace"))
        migrated.runner().down(only="session-check")
        assert setting(migrated) == "public.own_check"
    finally:
        migrated.sql(f"alter role authenticator {target} reset pgrst.db_pre_request")


def test_a_function_that_calls_ours_already_is_no_reason_to_warn(migrated: Project) -> None:
    set_own(migrated, OURS)
    notices: list[str] = []

    migrated.runner(on_notice=notices.append).up(wanted=OPTION)

    assert notices == []
    assert migrated.runner().verify() == []


def test_a_function_of_the_same_name_is_never_overwritten(migrated: Project) -> None:
    migrated.sql(f"create function {NAME}() returns void language sql as 'select null'")

    with pytest.raises(MigrationRefused, match=r"velro_auth_check_session\(\) of yours"):
        migrated.runner().up(wanted=OPTION)

    assert setting(migrated) is None


def test_a_closed_schema_would_close_the_data_api(migrated: Project) -> None:
    """The function is called as the role of the request, which has to see its schema."""
    migrated.sql("revoke usage on schema public from anon, public", user="supabase_admin")

    with pytest.raises(MigrationRefused, match="grant usage on schema public to anon"):
        migrated.runner().up(wanted=OPTION)


def test_what_was_changed_by_hand_is_noticed(checked: Project) -> None:
    checked.sql(f"alter role authenticator in database {checked.name} reset pgrst.db_pre_request")
    checked.sql(f"revoke execute on function {NAME}() from public")

    found = {one.subject: one.found for one in checked.runner().verify()}

    assert found == {
        "function that the data API calls before each request": "none",
        f"function {NAME}() may be called by": "its owner",
    }
    checked.runner().up(again=True)
    assert checked.runner().verify() == []
