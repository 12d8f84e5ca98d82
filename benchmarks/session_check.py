"""Measures what the session check costs a request of the data API, with a million sessions.

Run ``python -m benchmarks.session_check``: it starts a PostgreSQL of its own, takes some minutes and 1 GB, and leaves
nothing behind. A request is what PostgREST sends: a transaction with the claims and the role, the function that is to
run before each request, and the own row by its key.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import psycopg

from supabase_standin.postgres import Postgres
from supabase_standin.schema import prepare
from velro_auth.ops.database import Runner

#: Sessions of one user, as in FILL.
PER_USER: Final = 5
#: Requests of one turn.
BLOCK: Final = 200

FILL: Final = """
set session_replication_role = replica;
insert into auth.users (id, email, created_at, raw_user_meta_data)
select md5('user' || n)::uuid, 'user' || n || '@example.com', now(), '{}' from generate_series(1, %(users)s::int) n;
insert into public.users (id, email) select id, email from auth.users;
insert into auth.sessions (id, user_id, created_at, updated_at, refreshed_at, aal, ip, user_agent)
select md5('session' || n)::uuid, md5('user' || (1 + n %% %(users)s::int))::uuid, now(), now(), now(), 'aal1',
       '192.0.2.7', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)'
from generate_series(1, %(users)s::int * 5) n;
"""

CLAIMS: Final = "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)"
CHECK: Final = "select public.velro_auth_check_session()"
OWN_ROW: Final = "select id, display_name from public.users where id = %s"

#: The function alone, without a round trip: microseconds for each call.
ALONE: Final = """
do $$
declare
    claims text[] := array(select json_build_object('sub', s.user_id, 'session_id', s.id, 'aal', 'aal1')::text
                           from auth.sessions s tablesample system (2) limit 2000);
    began timestamptz;
    one text;
    plain double precision;
    checked double precision;
begin
    began := clock_timestamp();
    foreach one in array claims loop
        perform set_config('request.jwt.claims', one, true);
    end loop;
    plain := extract(epoch from clock_timestamp() - began);
    began := clock_timestamp();
    foreach one in array claims loop
        perform set_config('request.jwt.claims', one, true);
        perform public.velro_auth_check_session();
    end loop;
    checked := extract(epoch from clock_timestamp() - began);
    raise notice '%', (checked - plain) * 1e6 / cardinality(claims);
end;
$$
"""


@contextmanager
def project(users: int) -> Iterator[Postgres]:
    """A database of *users* with their sessions, migrated, with the session check."""
    folder = Path(tempfile.mkdtemp(prefix="velro-bench-"))
    folder.chmod(0o711)
    with Postgres(data_dir=folder / "data") as server:
        prepare(server.dsn(user="supabase_admin"))
        Runner(server.dsn()).up(wanted=["session-check"])
        with psycopg.connect(server.dsn(user="supabase_admin"), autocommit=True) as connection:
            for statement in FILL.split(";\n"):
                if statement.strip():
                    connection.execute(statement.encode(), {"users": users})
            connection.execute("vacuum analyze")
        yield server


def claims_of(connection: psycopg.Connection, count: int) -> list[tuple[str, str]]:
    """Return the claims and the user of random sessions."""
    rows = connection.execute("select id, user_id from auth.sessions order by random() limit %s", (count,)).fetchall()
    return [(json.dumps({"sub": str(user), "session_id": str(one), "aal": "aal1"}), str(user)) for one, user in rows]


def request_us(connection: psycopg.Connection, who: tuple[str, str], *, checks: bool) -> float:
    """Make one request, and return how long it took."""
    began = time.perf_counter()
    with connection.transaction():
        connection.execute(CLAIMS, (who[0],))
        if checks:
            connection.execute(CHECK)
        assert connection.execute(OWN_ROW, (who[1],)).fetchone()
    return (time.perf_counter() - began) * 1e6


def measured(server: Postgres, turns: int) -> dict[bool, list[list[float]]]:
    """Return with and without the check → microseconds of each request, for each turn of a few hundred."""
    times: dict[bool, list[list[float]]] = {False: [], True: []}
    with psycopg.connect(server.dsn(user="supabase_admin"), autocommit=True) as owner:
        people = claims_of(owner, 20_000)
    with psycopg.connect(server.dsn(user="authenticator"), autocommit=True) as connection:
        for _ in range(turns + 1):
            for checks in random.sample([False, True], 2):
                who = random.sample(people, BLOCK)
                times[checks].append([request_us(connection, one, checks=checks) for one in who])
    # The first turn fills the caches.
    return {checks: found[1:] for checks, found in times.items()}


def alone_us(server: Postgres) -> float:
    """Return what one call of the function takes in the server."""
    notices: list[str] = []
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        for _ in range(8):
            connection.execute(ALONE.encode())
    return min(map(float, notices))


def row(name: str, turns: Sequence[Sequence[float]]) -> str:
    """Return a line of the table: over all turns, and of the one that other work on the machine disturbed least."""
    quietest = min(turns, key=statistics.median)
    every = [one for turn in turns for one in turn]
    cuts = statistics.quantiles(quietest, n=100)
    return f"| {name} | {statistics.median(every):,.0f} | {statistics.median(quietest):,.0f} | {cuts[94]:,.0f} |"


@click.command()
@click.option("--sessions", default=1_000_000, show_default=True, help="How many sessions there are.")
@click.option("--turns", default=40, show_default=True, help=f"How many turns of {BLOCK} requests of each kind.")
def main(sessions: int, turns: int) -> None:
    """Print the cost of the session check as a table in Markdown."""
    with project(sessions // PER_USER) as server:
        times = measured(server, turns)
        alone = alone_us(server)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            [(version, size)] = connection.execute(
                "select current_setting('server_version'), pg_size_pretty(pg_total_relation_size('auth.sessions'))"
            ).fetchall()
    click.echo(f"PostgreSQL {version}, {sessions:,} sessions ({size}), {turns} turns of {BLOCK} requests each\n")
    click.echo("| request of the own row | median, µs | quietest turn: median, µs | its 95 %, µs |")
    click.echo("| --- | --- | --- | --- |")
    click.echo(row("without the check", times[False]))
    click.echo(row("with the check", times[True]))
    added = min(map(statistics.median, times[True])) - min(map(statistics.median, times[False]))
    click.echo(f"\nAdded in the quietest turn: {added:,.0f} µs, a round trip over a local socket included.")
    click.echo(f"The function alone: {alone:,.0f} µs.")


if __name__ == "__main__":
    main()
