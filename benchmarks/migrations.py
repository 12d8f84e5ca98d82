"""Measures what the migrations cost a project with a million users, while users sign up.

Run ``python benchmarks/migrations.py > docs/benchmarks-migrations.md``: it starts a PostgreSQL of its own, takes
some minutes and 2 GB, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import click
import psycopg
from psycopg.types.json import Jsonb

from supabase_standin.postgres import Postgres
from supabase_standin.schema import prepare
from velro_auth.ops.database import Runner
from velro_auth.ops.database.backfill import BATCH_SIZE
from velro_auth.ops.database.files import load, shipped

#: Seconds between two sign-ups.
PAUSE_S: Final = 0.005

#: The limits for the delay of a sign-up, in milliseconds.
MIGRATION_LIMIT_MS: Final = 100.0
BACKFILL_LIMIT_MS: Final = 150.0

#: The last migration that needs no lock on auth.users.
BEFORE_THE_TRIGGERS: Final = "20261122100200"

SIGN_UP: Final = """
insert into auth.users
    (instance_id, id, aud, role, email, raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
values (%s, %s, 'authenticated', '', %s, '{}', %s, now(), now())
"""

FILL: Final = """
insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, last_sign_in_at,
    raw_app_meta_data, raw_user_meta_data, created_at, updated_at, confirmation_token, recovery_token,
    email_change, email_change_token_new)
select '00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated', 'authenticated',
    'user' || n || '@example.com', '$2a$10$' || md5(n::text) || md5((n + 1)::text), now(), now(),
    '{"provider": "email", "providers": ["email"]}',
    jsonb_build_object('full_name', 'User ' || n, 'avatar_url', 'https://cdn.example.com/' || n || '.png'),
    now() - n * interval '1 second', now(), '', '', '', ''
from generate_series(1, %s::int) n
"""


@dataclass(frozen=True)
class SignUp:
    """When one sign-up began, and how long it took."""

    began: float
    took_ms: float


def sign_up_repeatedly(dsn: str, stop: Event, results: Pipe) -> None:
    """Insert a user every few milliseconds until the event is set, then send the times."""
    times: list[SignUp] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.is_set():
            user = uuid.uuid4()
            began = time.monotonic()
            connection.execute(SIGN_UP, (uuid.UUID(int=0), user, f"{user}@example.com", Jsonb({"name": "New"})))
            ended = time.monotonic()
            times.append(SignUp(began, (ended - began) * 1000))
            time.sleep(max(0.0, began + PAUSE_S - ended))
    results.send(times)


@contextmanager
def concurrent_sign_ups(dsn: str) -> Iterator[list[SignUp]]:
    """Insert users during a block; the yielded list is filled at its end."""
    times: list[SignUp] = []
    stop = multiprocessing.Event()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=sign_up_repeatedly, args=(dsn, stop, sender))
    process.start()
    try:
        yield times
    finally:
        stop.set()
        times.extend(receiver.recv())
        process.join()


@contextmanager
def users_locked(dsn: str, for_s: float = 1.5) -> Iterator[None]:
    """Lock auth.users before the block, as a long transaction does, and release it while the block runs."""
    with psycopg.connect(dsn) as connection:
        connection.execute("lock table auth.users in row exclusive mode")
        timer = threading.Timer(for_s, connection.commit)
        timer.start()
        yield
        timer.join()


@dataclass
class Report:
    """The table, line by line."""

    steps: list[tuple[str, float, float, float]] = field(default_factory=list)

    def measure(self, name: str, work: Callable[[], object], limit_ms: float = MIGRATION_LIMIT_MS) -> None:
        """Run *work* and record its time."""
        time.sleep(0.3)
        began = time.monotonic()
        work()
        self.steps.append((name, began, time.monotonic(), limit_ms))
        click.echo(f"{name}: {time.monotonic() - began:.2f} s", err=True)

    def lines(self, times: list[SignUp]) -> Iterator[str]:
        """Yield the table and the number of exceeded limits."""
        yield "| step | time | sign-ups meanwhile | median | 99 % | worst | limit |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        exceeded = 0
        for name, began, ended, limit_ms in self.steps:
            meanwhile = sorted(
                one.took_ms for one in times if one.began + one.took_ms / 1000 > began and one.began < ended
            )
            worst_ms = meanwhile[-1]
            exceeded += worst_ms > limit_ms
            yield (
                f"| {name} | {ended - began:.2f} s | {len(meanwhile)} | {statistics.median(meanwhile):.1f} ms"
                f" | {meanwhile[int(len(meanwhile) * 0.99)]:.1f} ms | {worst_ms:.1f} ms | {limit_ms:.0f} ms |"
            )
        yield ""
        yield f"Limits exceeded: {exceeded}."


def measure_hook(dsn: str, calls: int = 5000) -> str:
    """Return what a call of the token hook costs, called as the auth server does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        users = connection.execute("select id from users limit %s", (calls,)).fetchall()
        took = []
        for (user,) in users:
            event = Jsonb({"user_id": str(user), "claims": {"sub": str(user), "role": "authenticated"}})
            began = time.perf_counter()
            connection.execute("select velro_auth.custom_access_token_hook(%s)", (event,))
            took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    return (
        f"Token hook, round trip included: {statistics.mean(took):.0f} µs on average,"
        f" 99 % below {took[int(len(took) * 0.99)]:.0f} µs."
    )


def main() -> None:
    """Fill a project, migrate it while users sign up, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, default=1_000_000)
    users: int = parser.parse_args().users
    with tempfile.TemporaryDirectory(prefix="velro-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        with Postgres(data_dir=Path(folder) / "cluster") as server:
            for line in run(server, users):
                click.echo(line)


def run(server: Postgres, users: int) -> Iterator[str]:
    """Yield the lines of the page."""
    prepare(server.dsn(user="supabase_admin"), open_tables=True)
    with psycopg.connect(server.dsn(user="supabase_admin"), autocommit=True) as connection:
        # As a hosted database has it; the stand-in's is that of a laptop, and would checkpoint every second.
        connection.execute("alter system set max_wal_size = '4GB'")
        connection.execute("select pg_reload_conf()")
        connection.execute(FILL, (users,))
        connection.execute("vacuum analyze auth.users")
        connection.execute("checkpoint")
        size = connection.execute("select pg_size_pretty(pg_total_relation_size('auth.users'))").fetchone()
        version = connection.info.server_version // 10000, connection.info.server_version % 100
    report, runner = Report(), Runner(server.dsn())
    with concurrent_sign_ups(server.dsn(user="supabase_auth_admin")) as times:
        report.measure("nothing, for comparison", lambda: time.sleep(5))
        for migration in load(shipped()):
            report.measure(f"up {migration.label}", lambda version=migration.version: runner.up(to=version))  # type: ignore[misc]
        report.measure(f"back-fill, batches of {BATCH_SIZE:,}", runner.backfill, BACKFILL_LIMIT_MS)
        report.measure("back-fill again, nothing to do", runner.backfill, BACKFILL_LIMIT_MS)
        report.measure("verify", runner.verify)
        report.measure("up, nothing to do", runner.up)
        hook = measure_hook(server.dsn(user="supabase_auth_admin"))
        for migration in reversed(load(shipped())):
            report.measure(f"down {migration.label}", runner.down)
        runner.up(to=BEFORE_THE_TRIGGERS)
        with users_locked(server.dsn(user="supabase_auth_admin")):
            report.measure("up the triggers, while another session holds auth.users for 1 s", runner.up)
    yield "# What the migrations cost a project with a million users"
    yield ""
    yield (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with PostgreSQL {version[0]}.{version[1]},"
        f" {os.cpu_count()} cores ({platform.machine()}), by `benchmarks/migrations.py`: {users:,} rows in `auth.users`"
        f" ({size[0] if size else '?'}), durable writes, and one sign-up every {PAUSE_S * 1000:.0f} ms from"
        " another process, which shares the cores."
    )
    yield ""
    yield from report.lines(times)
    yield ""
    yield hook


if __name__ == "__main__":
    main()
