"""``velro-auth doctor`` as somebody at a terminal meets it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supabase_standin import Standin
from tests.fixtures.standin import Api
from velro_auth.ops.cli.doctor import doctor as command

PASSWORD = "canary-in-the-password"


@pytest.fixture
def environment(migrated: Standin) -> dict[str, str]:
    email = f"doctor-{random.getrandbits(48):x}@example.com"
    migrated.create_user(email, PASSWORD)
    return {
        "SUPABASE_URL": migrated.url,
        "SUPABASE_SECRET_KEY": migrated.secret_key,
        "SUPABASE_PUBLISHABLE_KEY": migrated.publishable_key,
        "DATABASE_URL": migrated.database_dsn,
        "METRICS_TOKEN": "canary-in-the-metrics-token",
        "RAILWAY_ENVIRONMENT_NAME": "production",
        "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "30",
        "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS": "20",
        "AUTH_BENCH_EMAIL": email,
        "AUTH_BENCH_PASSWORD": PASSWORD,
    }


def doctor(environment: Mapping[str, str], *options: str) -> Result:
    return CliRunner().invoke(command, options, env=environment)


def test_the_worst_grade_is_the_exit_status(environment: dict[str, str]) -> None:
    chosen = ("--only", "railway.drain,railway.overlap")

    good = doctor(environment, *chosen)
    warned = doctor({**environment, "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS": ""}, *chosen)
    failed = doctor({**environment, "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": ""}, *chosen)

    assert (good.exit_code, warned.exit_code, failed.exit_code) == (0, 1, 2)
    assert "2 pass" in good.stdout
    assert "FAIL  railway.drain" in failed.stdout
    assert "why   Its default is 0 s" in failed.stdout
    assert "fix   Set the service variable RAILWAY_DEPLOYMENT_DRAINING_SECONDS=30." in failed.stdout


def test_no_secret_is_in_any_output(environment: dict[str, str], migrated: Standin, tmp_path: Path) -> None:
    """Wherever everything is wrong, too: a refused key, a refused password, a database and a Redis that refuse."""
    canaries = {
        "SUPABASE_SECRET_KEY": "sb_secret_canary-secret-key-of-the-service",
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_canary-key-of-browsers",
        "SUPABASE_JWT_SECRET": "canary-jwt-secret-of-thirty-two-characters",
        "DATABASE_URL": "postgresql://postgres:canary-database@127.0.0.1:9/postgres",
        "REDIS_URL": "redis://:canary-redis@127.0.0.1:9",
        "ALERT_WEBHOOK_URL": "https://hooks.example/canary-hook",
        "AUTH_THROTTLE_SECRET": "canary-throttle-secret",
    }
    wrong = {**environment, **canaries}

    outputs = [
        doctor(wrong, "--json"),
        doctor(wrong),
        doctor({**environment, "AUTH_BENCH_PASSWORD": "canary-wrong-password"}, "--json"),
        doctor(environment, "--json"),
        doctor(wrong, "--fix", "--rollback-dir", str(tmp_path)),
    ]

    said = "".join(one.output for one in outputs)
    assert "canary" not in said
    assert migrated.secret_key not in said
    assert migrated.publishable_key not in said
    assert "eyJ" not in said
    assert all(isinstance(one.exception, SystemExit | None) for one in outputs)
    assert outputs[-1].exit_code == 2


def test_fix_says_what_it_does_and_the_second_time_nothing(
    environment: dict[str, str], migrated: Standin, tmp_path: Path
) -> None:
    api = Api(migrated)
    chosen = {**environment, "AUTH_BENCH_EMAIL": ""}
    api.sql("alter table public.users disable row level security")
    api.sql("delete from public.users")

    dry = doctor(chosen, "--fix", "--dry-run", "--rollback-dir", str(tmp_path))
    assert "would fix: row level security of public.users" in dry.stdout
    assert "FAIL  database.row_security" in dry.stdout
    assert dry.exit_code == 2
    assert "would fix: " in doctor(chosen, "--fix", "--dry-run", "--json").stdout
    assert list(tmp_path.iterdir()) == []

    first = doctor(chosen, "--fix", "--rollback-dir", str(tmp_path))
    [path] = tmp_path.glob("doctor_rollback_*.sql")
    assert "fixed: row level security public.users: changed" in first.stdout
    assert f"The undo file is {path}" in first.stdout
    assert "pass  database.row_security" in first.stdout
    second = doctor(chosen, "--fix", "--json", "--rollback-dir", str(tmp_path))

    assert json.loads(second.stdout)["fix"] == {"changes": [], "remarks": [], "rollback_file": None}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("options", [("--fix", "--only", "railway.drain"), ("--dry-run",), ("--only", "no.such")])
def test_what_makes_no_sense_is_refused(environment: dict[str, str], options: tuple[str, ...]) -> None:
    said = doctor(environment, *options)

    assert said.exit_code == 2
    assert said.stderr.startswith("Usage: ")


def test_without_database_and_account_it_says_what_it_could_not_check(
    environment: dict[str, str], standin_with: Callable[..., Standin]
) -> None:
    """And what it knows to be broken still decides the exit status."""
    lacking = {**environment, "DATABASE_URL": "", "AUTH_BENCH_EMAIL": "", "AUTH_BENCH_PASSWORD": "", "REDIS_URL": ""}
    broken = standin_with(email_logins=False)

    well = doctor(lacking)
    said = doctor({**lacking, "SUPABASE_URL": broken.url})
    told = json.loads(doctor(lacking, "--json").stdout)

    assert "FAIL" not in well.stdout
    assert said.exit_code == 2
    assert "FAIL  upstream.login" in said.stdout
    lines = [line for line in well.stdout.splitlines() if line.startswith("Not checked without ")]
    assert len(lines) == 3
    assert lines[0].startswith("Not checked without AUTH_BENCH_EMAIL and AUTH_BENCH_PASSWORD: account.login, ")
    assert lines[1].startswith("Not checked without DATABASE_URL: database.")
    assert lines[2] == "Not checked without --url: gateway.health, gateway.ready, gateway.pool"
    assert [one["give"] for one in told["not_checked"]] == [
        "AUTH_BENCH_EMAIL and AUTH_BENCH_PASSWORD",
        "DATABASE_URL",
        "--url",
    ]
    assert {name for one in told["not_checked"] for name in one["checks"]} <= {one["id"] for one in told["checks"]}
