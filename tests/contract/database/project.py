"""A Supabase project's database in a test: who connects, what a sign-up does, what a dump says."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from supabase_standin.postgres import Postgres
from velro_auth.ops.database import Runner

Rows = list[tuple[Any, ...]]

#: A project that had its own public.users, with rights, policies, a function and triggers of the former backend.
OWN_TABLE = """
create type public.user_role as enum ('member', 'viewer', 'owner');
create table public.users (
    id uuid primary key, nickname text default 'nobody', email text unique,
    role public.user_role not null default 'viewer', is_active boolean
);
insert into public.users (id, nickname, email, role) values
    ('00000000-0000-4000-8000-000000000001', 'ada', 'ada@example.com', 'owner'),
    ('00000000-0000-4000-8000-000000000002', 'bob', null, 'member');
grant select on public.users to public;
grant select (id, email) on public.users to anon;
grant update (nickname) on public.users to authenticated with grant option;
grant update, insert on public.users to authenticated;
create policy "Users can view self" on public.users for all to public using (true) with check (id is not null);
create policy "Own rule" on public.users as restrictive for delete to authenticated, anon using (false);
create function public.handle_new_auth_user() returns trigger language plpgsql security definer as $$
begin insert into public.users (id, email) values (new.id, new.email); return new; end $$;
grant execute on function public.handle_new_auth_user() to supabase_auth_admin;
create trigger on_auth_user_created after insert on auth.users
    for each row execute function public.handle_new_auth_user();
create trigger again after insert on auth.users for each row execute function public.handle_new_auth_user();
"""


@dataclass(frozen=True)
class Project:
    """One database on one server.

    Attributes:
        server: The cluster.
        name: The database.
        bin_dir: The server's own programs, for dumps of the same version.
    """

    server: Postgres
    name: str
    bin_dir: Path

    def dsn(self, user: str = "postgres") -> str:
        return self.server.dsn(user=user, database=self.name)

    def runner(self, **arguments: Any) -> Runner:
        return Runner(self.dsn(), **arguments)

    def migrated(self) -> Project:
        """Return this project with all migrations applied."""
        self.runner().up()
        return self

    @contextmanager
    def connected(self, user: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.dsn(user), autocommit=True) as connection:
            yield connection

    def sql(self, statement: str, *values: object, user: str = "postgres") -> Rows:
        """Return the rows of the last statement."""
        with self.connected(user) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def api(self, role: str, user: uuid.UUID | None = None, **more: object) -> Iterator[psycopg.Connection[Any]]:
        """Connect as the data API does: as *role*, with the claims of *user* and *more*."""
        claims = {"role": role} | ({"sub": str(user)} if user else {}) | more
        with self.connected("authenticator") as connection:
            connection.execute("select set_config('role', %s, false)", (role,))
            connection.execute("select set_config('request.jwt.claims', %s, false)", (json.dumps(claims),))
            yield connection

    def sign_up(
        self,
        email: str | None = None,
        *,
        meta: object = None,
        phone: str | None = None,
        sso: bool = False,
        anonymous: bool = False,
    ) -> uuid.UUID:
        """Insert a user as Supabase Auth does: as its own role, with its search_path."""
        user = uuid.uuid4()
        with self.connected("supabase_auth_admin") as connection:
            connection.execute(
                "insert into users (instance_id, id, aud, role, email, phone, raw_app_meta_data, raw_user_meta_data,"
                " is_sso_user, is_anonymous, created_at, updated_at, confirmation_token, recovery_token,"
                " email_change, email_change_token_new) values"
                " (%s, %s, 'authenticated', '', %s, %s, '{}', %s, %s, %s, now(), now(), '', '', '', '')",
                (uuid.UUID(int=0), user, email, phone, Jsonb(meta if meta is not None else {}), sso, anonymous),
            )
        return user

    def fill(self, count: int) -> None:
        """Insert users quickly, without their triggers: those from before the migrations."""
        with self.connected("supabase_admin") as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(
                "insert into auth.users (id, email, raw_user_meta_data, created_at)"
                " select md5(n::text)::uuid, 'user' || n || '@example.com', '{}', now()"
                " from generate_series(1, %s::int) n",
                (count,),
            )

    def profile(self, user: uuid.UUID) -> tuple[Any, ...] | None:
        """Return mail, display name, picture, role, credits and activity of one row."""
        rows = self.sql(
            "select email, display_name, avatar_url, role::text, credits_balance, is_active"
            " from public.users where id = %s",
            user,
        )
        return rows[0] if rows else None

    def dump(self, *options: str) -> str:
        """Return everything that pg_dump knows: structure, rights and rows."""
        made = subprocess.run(
            [self.bin_dir / "pg_dump", *options, self.dsn("supabase_admin")], capture_output=True, text=True, check=True
        )
        # Newer versions put a random word around the dump.
        return "\n".join(line for line in made.stdout.splitlines() if "restrict " not in line[:12])
