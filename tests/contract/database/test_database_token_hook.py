"""The token hook: writes the role, never raises, and is nobody else's."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.contract.database.project import OWN_TABLE, Project

CALL = "select velro_auth.custom_access_token_hook(%s)"


def event(user: object, **claims: Any) -> dict[str, Any]:
    return {
        "user_id": str(user),
        "authentication_method": "password",
        "claims": {"sub": str(user), "role": "authenticated", "aud": "authenticated", **claims},
    }


def ask(project: Project, asked: object) -> Any:
    """Call the hook as Supabase Auth does, which gives it two seconds."""
    with project.connected("supabase_auth_admin") as auth:
        auth.execute("set statement_timeout = '2s'")
        row = auth.execute(CALL, (Jsonb(asked),)).fetchone()
    assert row
    return row[0]


def test_the_role_is_written_into_the_claims(migrated: Project) -> None:
    user = migrated.sign_up("ada@example.com")
    migrated.sql("update public.users set role = 'admin'")
    asked = event(user)

    assert ask(migrated, asked) == {**asked, "claims": {**asked["claims"], "user_role": "admin"}}


def test_the_default_is_viewer(migrated: Project) -> None:
    assert ask(migrated, event(migrated.sign_up()))["claims"]["user_role"] == "viewer"


def test_a_forged_claim_is_removed(migrated: Project) -> None:
    """No row means no claim, and no claim means the lowest role."""
    asked = event(uuid.uuid4(), user_role="admin")

    assert "user_role" not in ask(migrated, asked)["claims"]


def test_a_user_id_that_is_none_gets_no_role(migrated: Project, subtests: pytest.Subtests) -> None:
    for user in ("", "no uuid", None):
        with subtests.test(user=user):
            assert ask(migrated, event(user)) == event(user)


def test_an_event_without_claims_comes_back_as_it_was(migrated: Project, subtests: pytest.Subtests) -> None:
    events: tuple[object, ...] = ({}, {"claims": None}, {"claims": []}, [], "x", None)
    for asked in events:
        with subtests.test(asked=asked):
            assert ask(migrated, asked) == asked


OBSTACLES = (
    "revoke all on public.users from supabase_auth_admin",
    "revoke usage on schema public from public, supabase_auth_admin, authenticated, anon, service_role",
    "alter table public.users drop column role",
    "alter table public.users rename to gone",
)


def test_it_never_raises(migrated: Project, subtests: pytest.Subtests) -> None:
    """An error here would lock everybody out."""
    user = migrated.sign_up()

    for obstacle in OBSTACLES:
        with subtests.test(obstacle=obstacle):
            migrated.sql(obstacle, user="supabase_admin")

            assert ask(migrated, event(user, user_role="admin")) == event(user)


def test_a_locked_table_costs_a_second_and_the_claim(migrated: Project) -> None:
    """Past two seconds nobody could log in."""
    user = migrated.sign_up()
    with migrated.connected() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")

        answer = ask(migrated, event(user))

    assert answer == event(user)


def test_it_runs_with_the_rights_of_its_caller(migrated: Project) -> None:
    """As its owner's it would tell everybody anybody's role, were it ever granted by mistake."""
    ada, bob = migrated.sign_up(), migrated.sign_up()
    migrated.sql("grant usage on schema velro_auth to authenticated;"
                 "grant execute on function velro_auth.custom_access_token_hook to authenticated")  # fmt: skip

    with migrated.api("authenticated", ada) as api:
        answers = [api.execute(CALL, (Jsonb(event(user)),)).fetchone() for user in (ada, bob)]

    assert ["user_role" in answer[0]["claims"] for answer in answers if answer] == [True, False]


def test_the_auth_server_reads_id_and_role_and_nothing_else(migrated: Project) -> None:
    migrated.sign_up("ada@example.com")
    held = migrated.sql(
        "select column_name from information_schema.column_privileges where grantee = 'supabase_auth_admin'"
        " and table_schema = 'public' and privilege_type = 'SELECT' order by column_name",
        user="supabase_admin",
    )

    assert held == [("id",), ("role",)]


def test_rights_that_the_auth_server_had_come_back(project: Project) -> None:
    project.sql(OWN_TABLE + "grant select (nickname), update (nickname) on public.users to supabase_auth_admin")
    project.runner().up(to="20261122100400")
    rights = "select * from velro_auth.rights('public.users') order by 1, 2, 3"
    before = project.sql(rights)

    project.runner().up()
    during = project.sql(rights)
    project.runner().down(to="20261122100400")

    assert ("supabase_auth_admin", "SELECT", "role", False) in during
    assert project.sql(rights) == before
