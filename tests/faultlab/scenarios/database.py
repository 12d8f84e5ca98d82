"""Migrations that are killed, run twice, run at once, and rolled back; triggers that fail."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from supabase_standin import Standin
from tests.contract.database.test_database_crashes import KILLING
from tests.contract.database.test_database_projects import PLAIN, QUICKSTART
from tests.faultlab.client import Reply
from tests.faultlab.lab import PASSWORD, Gateway, Lab
from tests.faultlab.load import share, statuses
from tests.faultlab.registry import Guard, scenario
from tests.fixtures.programs import ROOT
from velro_auth.ops.database import Runner, State

SIGNUP = "/api/v1/auth/signup"

#: The trigger's function without what keeps its failures from the sign-up.
_UNGUARDED = """
create or replace function public.theirs() returns trigger language plpgsql security definer as $$
begin raise exception 'the mirror is broken'; end $$;
create trigger zz_theirs after insert on auth.users for each row execute function public.theirs();
"""


def sql(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run SQL as the owner and return the rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def sign_up(lab: Lab, gateway: Gateway, due_s: float | None = None) -> Reply:
    """Sign somebody up from a network of their own."""
    email = f"new-{lab.random.getrandbits(48):x}@lab.example.com"
    body = {"email": email, "password": PASSWORD}
    return gateway.client.ask("POST", SIGNUP, body, address=lab.address(), due_s=due_s)


def killed(dsn: str, points: Sequence[int]) -> int:
    """Run all migrations, killed (SIGKILL) around these statements; return how many runs were killed."""
    script = KILLING + "for point in map(int, sys.argv[2:]):\n    killed(point, Runner(sys.argv[1]).up)\n"
    subprocess.run([sys.executable, "-c", script, dsn, *map(str, points)], cwd=ROOT, check=True)
    return len(points)


@scenario(
    "S32",
    "migrations are killed (SIGKILL) at 12 statements, run twice, four at once, rolled back; the mirror fails",
    notices="nothing: sign-ups go on, before, during and after",
    bound="the schema is as before or as after a migration, never between; a second run changes nothing; no sign-up"
    " fails because of our trigger",
    guard=Guard(name="the trigger catches its own failures", by_hand="a trigger that does not is added (SQL)"),
)
def migrations_fail(lab: Lab) -> None:
    """Somebody signs up every now and then meanwhile."""
    standin = lab.standin()
    gateway = lab.gateway(**lab.environment(standin))
    dsn = standin.database_dsn
    sign_ups: list[Reply] = [sign_up(lab, gateway)]
    lab.settled()
    kills = killed(dsn, range(4, 4 + 12 * 9, 9))
    states = [one.state for one in Runner(dsn).status()]
    lab.check(
        "applied or pending, nothing else", set(states) <= {State.APPLIED, State.PENDING, State.NOT_ASKED_FOR}, states
    )
    sign_ups.append(sign_up(lab, gateway))
    runners, applied = threading.Barrier(4), []

    def run(_: int) -> None:
        runners.wait()
        applied.append([step.version for step in Runner(dsn).up()])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    every = [version for versions in applied for version in versions]
    lab.check("four at once apply each migration once", len(every) == len(set(every)), every)
    lab.check("a second run changes nothing", not list(Runner(dsn).up()))
    sign_ups += [sign_up(lab, gateway) for _ in range(5)]
    Runner(dsn).backfill()
    differences = Runner(dsn).verify()
    lab.check("the schema is the recorded one", not differences, [str(each) for each in differences][:3])
    (counts,) = sql(dsn, "select (select count(*) from auth.users), (select count(*) from public.users)")
    lab.check("each user has a row", counts[0] == counts[1], counts)

    sql(dsn, "alter table public.users add constraint broken check (false) not valid")
    if not lab.is_guarded:
        sql(dsn, _UNGUARDED)
    broken = [sign_up(lab, gateway) for _ in range(10)]
    lab.check("a failing mirror keeps nobody out", share(broken, 200) == 1.0, statuses(broken))
    sql(dsn, "alter table public.users drop constraint broken")
    Runner(dsn).down(steps=99, drop_data=True)
    sign_ups += [sign_up(lab, gateway) for _ in range(3)]
    lab.check("sign-ups go on", share(sign_ups, 200) == 1.0, statuses(sign_ups))
    lab.check("nothing is left after the rollback", sql(dsn, "select to_regnamespace('velro_auth')")[0][0] is None)
    lab.fired("killed runs", kills)
    lab.fired("sign-ups with a failing mirror", len(broken))


def quickstart(lab: Lab) -> Standin:
    """Start a project that has the quickstart's trigger."""
    standin = lab.standin()
    sql(standin.database_dsn, QUICKSTART)
    return standin


@scenario(
    "S36",
    "a live project with the quickstart's trigger is taken over while people sign up",
    notices="nothing",
    bound="0 failed sign-ups, every user has exactly one row afterwards",
    guard=Guard(name="adoption of a trigger that fills the same table", by_hand="it is left beside ours (SQL)"),
)
def trigger_is_adopted(lab: Lab) -> None:
    """The lock of the migration holds sign-ups back for a moment; it must not fail them."""
    standin = quickstart(lab)
    gateway = lab.gateway(**lab.environment(standin))
    dsn = standin.database_dsn
    with lab.load(lambda _, due_s: sign_up(lab, gateway, due_s), rps=8) as load:
        lab.for_s(0.2)
        lab.settled()
        taken = list(Runner(dsn).up(adopt=True))
        if not lab.is_guarded:
            sql(dsn, PLAIN % "zz_theirs")
        lab.for_s(0.2)
    Runner(dsn).backfill()
    lab.fired("migrations under load", len(taken))
    lab.figure("sign-ups", len(load.replies))
    lab.check("no sign-up fails", share(load.replies, 200) == 1.0, statuses(load.replies))
    (counts,) = sql(dsn, "select (select count(*) from auth.users), (select count(*) from public.users)")
    lab.check("each user has one row", counts[0] == counts[1] == len(load.replies), (counts, len(load.replies)))
    differences = Runner(dsn).verify()
    lab.check("the schema is the recorded one", not differences, [str(each) for each in differences][:3])
