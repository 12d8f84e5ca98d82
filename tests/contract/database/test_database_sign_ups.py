"""Nothing of ours may keep anybody from signing up; the back-fill mends what was missed."""

from __future__ import annotations

import time
import uuid

import pytest

from tests.contract.database.project import Project

ADA = "ada@example.com"


def test_a_sign_up_makes_a_row(migrated: Project) -> None:
    user = migrated.sign_up(ADA, meta={"full_name": "  Ada  ", "picture": "https://a.example/p"})

    assert migrated.profile(user) == (ADA, "Ada", "https://a.example/p", "viewer", 0, True)


DISPLAY_DATA: list[tuple[object, str | None, str | None]] = [
    ({"display_name": "A", "full_name": "B", "name": "C"}, "A", None),
    ({"name": "x" * 500}, "x" * 100, None),
    ({"name": " "}, None, None),
    ({"avatar_url": "javascript:alert(1)"}, None, None),
    ({"avatar_url": "https://a.example/" + "p" * 2000}, None, None),
    ({"avatar_url": "https://a.example/" + "p" * 1900}, None, "https://a.example/" + "p" * 1900),
    ({"name": {"first": "Ada"}}, '{"first": "Ada"}', None),
    ([], None, None),
    ("text", None, None),
    (7, None, None),
]


def test_display_data_is_cut_to_size(migrated: Project, subtests: pytest.Subtests) -> None:
    """Users write these themselves, in any form that JSON has."""
    for meta, name, picture in DISPLAY_DATA:
        with subtests.test(meta=str(meta)[:50]):
            user = migrated.sign_up(meta=meta)

            assert migrated.profile(user) == (None, name, picture, "viewer", 0, True)


def test_role_and_credits_never_come_from_the_user(migrated: Project, subtests: pytest.Subtests) -> None:
    """A role that is no label used to fail the sign-up; one that is made an administrator."""
    for role in ("admin", "superman"):
        with subtests.test(role=role):
            user = migrated.sign_up(meta={"role": role, "user_role": role, "credits_balance": 9, "is_active": False})

            assert migrated.profile(user) == (None, None, None, "viewer", 0, True)


def test_phone_anonymous_and_sso_users_have_rows(migrated: Project) -> None:
    """They have no mail, or share one."""
    migrated.sign_up(ADA)
    phone = migrated.sign_up(phone="49123")
    anonymous = migrated.sign_up(anonymous=True)
    twin = migrated.sign_up(ADA, sso=True)

    assert migrated.profile(phone) == (None, None, None, "viewer", 0, True)
    assert migrated.profile(anonymous) == (None, None, None, "viewer", 0, True)
    assert migrated.profile(twin) == (ADA, None, None, "viewer", 0, True)


OBSTACLES = {
    "missing": ("alter table public.users rename to gone", "alter table public.gone rename to users"),
    "failing check": (
        "alter table public.users add constraint obstacle check (display_name is not null)",
        "alter table public.users drop constraint obstacle",
    ),
    "mail required": (
        "alter table public.users alter column email set not null",
        "alter table public.users alter column email drop not null",
    ),
    "mail unique": (
        "alter table public.users add constraint obstacle unique (email)",
        "alter table public.users drop constraint obstacle",
    ),
    "new required column": (
        "alter table public.users add column username text not null",
        "alter table public.users drop column username",
    ),
    "column too short": (
        "alter table public.users alter column email type varchar(3)",
        "alter table public.users alter column email type text",
    ),
    "another type": (
        "alter table public.users alter column role drop default, alter column role type text",
        """alter table public.users alter column role type public.user_role using 'viewer',
           alter column role set default 'viewer'""",
    ),
    "assertion of a trigger": (
        """create function public.no() returns trigger language plpgsql as $$ begin assert false; return new; end $$;
           create trigger obstacle before insert on public.users for each row execute function public.no()""",
        "drop function public.no() cascade",
    ),
    "check at the end of the transaction": (
        """create table public.teams (id int primary key);
           alter table public.users add column team int default 7 constraint obstacle
               references public.teams deferrable initially deferred""",
        "alter table public.users drop column team; drop table public.teams",
    ),
    "trigger at the end of the transaction": (
        """create function public.no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
           create constraint trigger obstacle after insert on public.users deferrable initially deferred
               for each row execute function public.no()""",
        "drop function public.no() cascade",
    ),
    "trigger that raises": (
        """create function public.no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
           create trigger obstacle before insert on public.users for each row execute function public.no()""",
        "drop function public.no() cascade",
    ),
    "our functions gone": ("alter schema velro_auth rename to gone", "alter schema gone rename to velro_auth"),
}


def test_sign_ups_go_through_whatever_is_in_the_way(migrated: Project, subtests: pytest.Subtests) -> None:
    """Mail, phone, anonymous and SSO; the rows that are missing come with the back-fill."""
    for name, (put, remove) in OBSTACLES.items():
        with subtests.test(name):
            migrated.sql("delete from auth.users")
            migrated.sql(put)

            mail = f"{name.replace(' ', '-')}@example.com"
            users = {
                migrated.sign_up(mail): mail,
                migrated.sign_up(phone=name): None,
                migrated.sign_up(anonymous=True): None,
                migrated.sign_up(mail, sso=True): mail,
            }

            migrated.sql(remove)
            migrated.runner().backfill()
            for user, shown in users.items():
                assert migrated.profile(user) == (shown, None, None, "viewer", 0, True)
            assert migrated.runner().verify() == []


def test_a_sign_up_waits_two_seconds_at_most_for_a_locked_table(migrated: Project) -> None:
    with migrated.connected() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")

        began = time.monotonic()
        user = migrated.sign_up(ADA)
        took_s = time.monotonic() - began

    assert 1.5 < took_s < 5
    assert migrated.profile(user) is None
    assert migrated.runner().backfill().written == 1
    assert migrated.profile(user) == (ADA, None, None, "viewer", 0, True)


def test_what_failed_is_logged_without_personal_data(migrated: Project) -> None:
    migrated.sql("alter table public.users alter column email type varchar(3)")
    heard: list[str] = []
    with migrated.connected("supabase_auth_admin") as auth:
        auth.add_notice_handler(lambda said: heard.append(str(said.message_primary)))
        auth.execute("insert into users (id, email) values (gen_random_uuid(), 'ada@example.com')")

    assert heard == ["velro-auth: public.users did not follow auth.users (22001): run velro-auth db backfill"]


def test_a_changed_mail_follows(migrated: Project) -> None:
    user = migrated.sign_up(ADA, meta={"name": "Ada"})

    migrated.sql("update users set email = 'new@example.com' where id = %s", user, user="supabase_auth_admin")

    assert migrated.profile(user) == ("new@example.com", "Ada", None, "viewer", 0, True)


def test_a_changed_mail_brings_a_missing_row(migrated: Project) -> None:
    user = migrated.sign_up(ADA)
    migrated.sql("delete from public.users")

    migrated.sql("update users set email = 'new@example.com'", user="supabase_auth_admin")

    assert migrated.profile(user) == ("new@example.com", None, None, "viewer", 0, True)


def test_a_soft_deletion_blanks_the_row(migrated: Project) -> None:
    """The row of auth.users stays without its data, and so does ours; credits are kept for the books."""
    user = migrated.sign_up(ADA, meta={"name": "Ada", "avatar_url": "https://a.example/p"})
    migrated.sql("update public.users set credits_balance = 3")

    migrated.sql("update users set deleted_at = now(), email = 'hash'", user="supabase_auth_admin")

    assert migrated.profile(user) == (None, None, None, "viewer", 3, False)
    assert migrated.runner().verify() == []


def test_a_deletion_deletes_the_row(migrated: Project) -> None:
    user = migrated.sign_up(ADA)

    migrated.sql("delete from users where id = %s", user, user="supabase_auth_admin")

    assert migrated.profile(user) is None


def test_a_login_leaves_the_row_alone(migrated: Project) -> None:
    """Every login updates auth.users; a trigger without a list of columns would run each time."""
    migrated.sign_up(ADA)
    before = migrated.sql("select xmin, updated_at from public.users")

    migrated.sql("update users set last_sign_in_at = now(), updated_at = now()", user="supabase_auth_admin")
    migrated.sql("update users set email = email", user="supabase_auth_admin")

    assert migrated.sql("select xmin, updated_at from public.users") == before


def test_a_login_survives_a_broken_mirror(migrated: Project) -> None:
    """Even the update of the mail itself must go through."""
    user = migrated.sign_up(ADA)
    migrated.sql("drop table public.users")

    migrated.sql("update users set email = 'new@example.com', deleted_at = now()", user="supabase_auth_admin")

    assert migrated.sql("select email from auth.users where id = %s", user) == [("new@example.com",)]


def test_a_default_of_the_projects_own_is_respected(project: Project) -> None:
    project.sql(
        "create type public.user_role as enum ('viewer', 'member');"
        "create table public.users (id uuid primary key, role public.user_role default 'member',"
        " credits_balance int default 50)"
    )
    project.runner().up()

    user = project.sign_up(ADA)

    assert project.profile(user) == (ADA, None, None, "member", 50, True)


def test_a_role_without_a_default_gets_viewer(project: Project) -> None:
    project.sql(
        "create type public.user_role as enum ('admin', 'viewer');"
        "create table public.users (id uuid primary key, role public.user_role)"
    )
    project.runner().up()

    assert project.profile(project.sign_up(ADA)) == (ADA, None, None, "viewer", 0, True)


def test_a_trigger_of_the_projects_own_may_come_first(project: Project) -> None:
    """Somebody's older trigger writes the same row; ours takes what it finds."""
    project.migrated()
    project.sql(
        "create function public.theirs() returns trigger language plpgsql security definer as"
        " $$ begin insert into public.users (id, display_name) values (new.id, 'theirs'); return new; end $$;"
        "create trigger a_first after insert on auth.users for each row execute function public.theirs()"
    )

    user = project.sign_up(ADA)

    assert project.profile(user) == (ADA, "theirs", None, "viewer", 0, True)


def test_a_sign_up_that_is_rolled_back_leaves_no_row(migrated: Project) -> None:
    with migrated.connected("supabase_auth_admin") as auth, auth.transaction(force_rollback=True):
        auth.execute("insert into users (id, email) values (%s, 'ada@example.com')", (uuid.uuid4(),))

    assert migrated.sql("select * from public.users") == []
