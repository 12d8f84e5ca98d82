"""The checks that ask nobody: each seen failing, and well once its fix was made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from velro_auth.config.settings import Settings
from velro_auth.ops.doctor.checks import CHECKS
from velro_auth.ops.doctor.checkup import Result, run
from velro_auth.ops.doctor.context import DiagnosticContext

GOOD = {
    "SUPABASE_URL": "https://velro.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_" + "k" * 20,
    "RAILWAY_ENVIRONMENT_NAME": "production",
    "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "30",
    "RAILWAY_DEPLOYMENT_OVERLAP_SECONDS": "20",
}


def legacy(role: str, ref: str = "velro") -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"role": role, "ref": ref}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.canary"


def look(name: str, environment: dict[str, str], **options: Any) -> Result:
    context = DiagnosticContext(settings=Settings.from_environment({**GOOD, **environment}), cores=2, **options)
    return {result.check.name: result for result in run(CHECKS, context, only=[name])}[name]


#: Check, what is wrong, its grade, and a word of what is said about it.
FAULTS = (
    ("settings.values", {"LOG_LEVEL": "loud"}, "fail", "LOG_LEVEL"),
    ("settings.values", {"AUTH_P95_CRITICAL": "1"}, "fail", "AUTH_P95_CRITICAL"),
    ("settings.url", {"SUPABASE_URL": ""}, "fail", "SUPABASE_URL"),
    ("settings.url", {"SUPABASE_URL": "http://velro.supabase.co"}, "fail", "https"),
    ("settings.url", {"SUPABASE_URL": "https://velro.supabase.co/auth/v1"}, "fail", "bare"),
    ("settings.keys", {"SUPABASE_SECRET_KEY": ""}, "fail", "SUPABASE_SECRET_KEY"),
    ("settings.keys", {"SUPABASE_SECRET_KEY": "sb_publishable_" + "k" * 20}, "fail", "belongs into"),
    ("settings.keys", {"SUPABASE_PUBLISHABLE_KEY": GOOD["SUPABASE_SECRET_KEY"]}, "fail", "belongs into"),
    ("settings.keys", {"SUPABASE_SECRET_KEY": legacy("anon")}, "fail", "'anon'"),
    ("settings.project", {"SUPABASE_SECRET_KEY": legacy("service_role", "other")}, "fail", "'other'"),
    ("settings.legacy", {"SUPABASE_SECRET_KEY": legacy("service_role")}, "warn", "SUPABASE_SECRET_KEY"),
    ("settings.legacy", {"SUPABASE_PUBLISHABLE_KEY": legacy("anon")}, "warn", "SUPABASE_PUBLISHABLE_KEY"),
    ("gunicorn.threads", {"LOGIN_CONCURRENCY": "32"}, "fail", "GUNICORN_THREADS"),
    ("gunicorn.threads", {"GUNICORN_THREADS": "8"}, "warn", "8 threads"),
    ("gunicorn.workers", {"WEB_CONCURRENCY": "3"}, "warn", "3 workers, 2 cores"),
    ("proxy.trusted", {"TRUSTED_PROXIES": "10.0.0.0/8"}, "fail", "100.64.0.0/10"),
    ("proxy.trusted", {"TRUSTED_PROXIES": "0.0.0.0/0"}, "fail", "any address"),
    ("proxy.header", {"AUTH_CLIENT_IP_HEADER": "X-Forwarded-For"}, "fail", "Railway's own address"),
    ("proxy.header", {"AUTH_TRUSTED_HOPS": "2"}, "warn", "has one entry"),
    ("proxy.trusted", {"TRUSTED_PROXIES": "100.64.0.0/10,::/0"}, "fail", "any address"),
    ("railway.drain", {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": ""}, "fail", "not set"),
    ("railway.drain", {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "25"}, "fail", "'25'"),
    ("railway.drain", {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "half a minute"}, "fail", "half a minute"),
    ("railway.drain", {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "nan"}, "fail", "'nan'"),
    ("railway.overlap", {"RAILWAY_DEPLOYMENT_OVERLAP_SECONDS": ""}, "warn", "not set"),
)


def test_two_proxies_that_add_to_one_list_are_no_fault() -> None:
    result = look("proxy.header", {"AUTH_CLIENT_IP_HEADER": "x-forwarded-for", "AUTH_TRUSTED_HOPS": "2"})

    assert (result.status, result.found) == ("pass", "x-forwarded-for, entry 2 from the right")


@pytest.mark.parametrize(("name", "fault", "status", "said"), FAULTS)
def test_a_fault_is_told_by_its_own_check(name: str, fault: dict[str, str], status: str, said: str) -> None:
    result = look(name, fault)

    assert (result.status, said in result.found) == (status, True), result.found
    assert result.fix
    assert "canary" not in result.found
    assert look(name, {}).status == "pass"


def test_each_mistake_is_told_once() -> None:
    """By the check it belongs to, not by its neighbours too."""
    environment = {**GOOD, "SUPABASE_SECRET_KEY": legacy("service_role", "other"), "LOGIN_CONCURRENCY": "40"}
    context = DiagnosticContext(settings=Settings.from_environment(environment))
    chosen = [check.name for check in CHECKS if check.group in {"settings", "gunicorn"}]

    found = {one.check.name for one in run(CHECKS, context, only=chosen) if one.status == "fail"}

    assert found == {"settings.project", "gunicorn.threads"}


@pytest.mark.parametrize("name", ["railway.drain", "railway.overlap"])
def test_railway_is_looked_at_on_railway_only(name: str) -> None:
    assert look(name, {"RAILWAY_ENVIRONMENT_NAME": ""}).status == "skip"


def test_elsewhere_any_proxy_will_do() -> None:
    assert look("proxy.trusted", {"RAILWAY_ENVIRONMENT_NAME": "", "TRUSTED_PROXIES": "10.0.0.0/8"}).status == "pass"


@pytest.mark.parametrize(("mebibytes", "status"), [(50, "fail"), (500, "warn"), (5000, "pass")])
def test_the_disk_of_the_audit_trail(tmp_path: Path, mebibytes: int, status: str) -> None:
    environment = {"AUDIT_FILE": str(tmp_path / "audit.jsonl")}

    result = look("disk.free", environment, disk_free=lambda _: (mebibytes * 1024**2, 10**12))

    assert result.status == status
    assert str(tmp_path) in result.found


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert look("disk.free", {"AUDIT_FILE": str(tmp_path / "absent" / "audit.jsonl")}).status == "fail"


@pytest.mark.parametrize("audit_file", ["", "-"])
def test_without_a_trail_on_disk_there_is_nothing_to_look_at(audit_file: str) -> None:
    assert look("disk.free", {"AUDIT_FILE": audit_file}).status == "skip"
