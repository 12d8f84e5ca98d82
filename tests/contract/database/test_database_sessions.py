"""Users list and end their own sessions: with a live session, with their second factor, and nobody else's."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.contract.database.conftest import MakeProject
from tests.contract.database.project import Project
from velro_auth.ops.database.errors import MigrationRefused

LIST = "select id, is_current from public.velro_auth_sessions()"
END = "select public.velro_auth_end_session(%s)"


def begin(project: Project, user: uuid.UUID, *, aal: str = "aal1", ends: str = "infinity") -> uuid.UUID:
    """Begin a session as Supabase Auth does, and return its id."""
    session = uuid.uuid4()
    project.sql(
        "insert into auth.sessions (id, user_id, created_at, updated_at, aal, not_after, ip, user_agent)"
        " values (%s, %s, now(), now(), %s, %s, '192.0.2.7', 'a browser')",
        session, user, aal, ends, user="supabase_admin",
    )  # fmt: skip
    return session


def add_factor(project: Project, user: uuid.UUID, status: str = "verified") -> None:
    project.sql(
        "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at)"
        " values (gen_random_uuid(), %s, 'totp', %s, now(), now())",
        user, status, user="supabase_admin",
    )  # fmt: skip


def claims(session: uuid.UUID, **changes: object) -> dict[str, object]:
    return {"session_id": str(session), "aal": "aal1", **changes}


def ask(
    project: Project, user: uuid.UUID, session: uuid.UUID, statement: str = LIST, *values: object, **changes: Any
) -> Any:
    with project.api("authenticated", user, **claims(session, **changes)) as api:
        return api.execute(statement.encode(), values or None).fetchall()


def live(project: Project, user: uuid.UUID) -> set[uuid.UUID]:
    rows = project.sql("select id from auth.sessions where user_id = %s", user, user="supabase_admin")
    return {row[0] for row in rows}


def test_users_see_their_own_sessions_the_current_one_first(migrated: Project) -> None:
    ada, bob = migrated.sign_up(), migrated.sign_up()
    begin(migrated, bob)
    mine, other = begin(migrated, ada), begin(migrated, ada)

    assert ask(migrated, ada, mine) == [(mine, True), (other, False)]
    assert ask(migrated, ada, other) == [(other, True), (mine, False)]


def test_a_session_has_its_times_level_address_and_agent(migrated: Project) -> None:
    ada = migrated.sign_up()
    mine = begin(migrated, ada)
    migrated.sql("update auth.sessions set created_at = '2026-01-01 10:00+00', refreshed_at = '2026-01-01 12:00'"
                 " where id = %s", mine, user="supabase_admin")  # fmt: skip

    columns = "select created_at at time zone 'utc', last_used_at at time zone 'utc', aal, ip, user_agent"
    [(created, used, *others)] = ask(migrated, ada, mine, f"{columns} from public.velro_auth_sessions()")

    assert [f"{moment:%F %R}" for moment in (created, used)] == ["2026-01-01 10:00", "2026-01-01 12:00"]
    assert others == ["aal1", "192.0.2.7", "a browser"]


def test_one_session_is_found_by_its_id_if_it_is_the_caller_s(migrated: Project) -> None:
    ada, bob = migrated.sign_up(), migrated.sign_up()
    mine, other, foreign = begin(migrated, ada), begin(migrated, ada), begin(migrated, bob)
    statement = "select id from public.velro_auth_sessions(only_id => %s)"

    assert ask(migrated, ada, mine, statement, other) == [(other,)]
    assert ask(migrated, ada, mine, statement, foreign) == []


def test_a_session_that_is_ended_is_gone_with_its_refresh_tokens(migrated: Project) -> None:
    ada = migrated.sign_up()
    mine, other = begin(migrated, ada), begin(migrated, ada)
    migrated.sql("insert into auth.refresh_tokens (token, user_id, session_id) values ('t', %s, %s)",
                 str(ada), other, user="supabase_admin")  # fmt: skip

    assert ask(migrated, ada, mine, END, other) == [(True,)]
    assert ask(migrated, ada, mine, END, other) == [(False,)]

    assert live(migrated, ada) == {mine}
    assert migrated.sql("select token from auth.refresh_tokens", user="supabase_admin") == []


def test_nobody_ends_the_session_of_another_user(migrated: Project) -> None:
    ada, bob = migrated.sign_up(), migrated.sign_up()
    mine, foreign = begin(migrated, ada), begin(migrated, bob)

    assert ask(migrated, ada, mine, END, foreign) == [(False,)]

    assert live(migrated, bob) == {foreign}


def refused(project: Project, user: uuid.UUID, session: uuid.UUID, **changes: Any) -> set[str]:
    """Return how all three calls are refused: SQLSTATE and message."""
    found = set()
    for statement, values in ((LIST, ()), (END, (session,)), (END, (uuid.uuid4(),))):
        with pytest.raises(psycopg.Error) as caught:
            ask(project, user, session, statement, *values, **changes)
        found.add(f"{caught.value.sqlstate} {caught.value.diag.message_primary}")
    return found


def test_the_own_session_has_to_live(migrated: Project, subtests: pytest.Subtests) -> None:
    ada, bob = migrated.sign_up(), migrated.sign_up()
    mine, foreign = begin(migrated, ada), begin(migrated, bob)
    late = begin(migrated, ada, ends="2020-01-01")
    for name, session in {"ended": uuid.uuid4(), "another user's": foreign, "past its end": late}.items():
        with subtests.test(session=name):
            assert refused(migrated, ada, session) == {"PT401 session_not_found"}
    for claim in (None, "", "none", 7):
        with subtests.test(session_id=claim):
            assert refused(migrated, ada, mine, session_id=claim) == {"PT401 session_not_found"}
    assert live(migrated, ada) == {mine, late}


def test_a_second_factor_is_needed_where_there_is_one(migrated: Project, subtests: pytest.Subtests) -> None:
    ada = migrated.sign_up()
    mine = begin(migrated, ada)
    add_factor(migrated, ada, "unverified")
    assert ask(migrated, ada, mine) == [(mine, True)]
    add_factor(migrated, ada)

    for claim in ("aal1", "", None):
        with subtests.test(aal=claim):
            assert refused(migrated, ada, mine, aal=claim) == {"PT403 insufficient_aal"}

    assert ask(migrated, ada, mine, aal="aal2") == [(mine, True)]
    assert ask(migrated, ada, mine, END, mine, aal="aal2") == [(True,)]


def test_applications_of_the_oauth_server_are_refused(migrated: Project) -> None:
    ada = migrated.sign_up()

    assert refused(migrated, ada, begin(migrated, ada), client_id="an app") == {"PT403 oauth_client"}


@pytest.mark.parametrize("role", ["anon", "service_role"])
def test_only_users_may_call_the_functions(migrated: Project, role: str) -> None:
    ada = migrated.sign_up()
    session = begin(migrated, ada)

    for statement, values in ((LIST, None), (END, (session,)), ("select velro_auth.live_session()", None)):
        with migrated.api(role, ada, **claims(session)) as api, pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute(statement.encode(), values)


OWN = "create function public.velro_auth_sessions(only_id uuid) returns text language sql as $$ select 'mine' $$"


@pytest.mark.parametrize("rehearse", [True, False])
def test_a_function_of_the_project_is_never_overwritten(make_project: MakeProject, rehearse: bool) -> None:
    project = make_project("new")
    project.sql(OWN)

    with pytest.raises(MigrationRefused, match=r"velro_auth_sessions\(uuid\) of yours.*Rename it"):
        project.runner().up(rehearse=rehearse)

    assert project.sql("select public.velro_auth_sessions(null)") == [("mine",)]
    project.sql("alter function public.velro_auth_sessions(uuid) rename to own_sessions")
    project.runner().up()
    assert project.runner().verify() == []
