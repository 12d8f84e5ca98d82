"""The image and its compose file say what they should; no engine is needed for that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.dockerfile import of, stages
from velro_auth.config.settings import Settings, specs
from velro_auth.ops.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]

BUILD, FINAL = stages()

#: How long gunicorn finishes requests (velro_auth/server/gunicorn_conf.py).
GRACEFUL_S = 25


def copied() -> list[str]:
    """Return what the build stage copies from the checkout."""
    return [name for rest in of(BUILD, "COPY") for name in rest.split()[:-1]]


def services() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    return found


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def test_it_runs_as_a_user_without_rights_named_by_number() -> None:
    (user,) = of(FINAL, "USER")

    assert all(int(number) >= 1000 for number in user.split(":"))
    assert [name for name, _ in FINAL].index("USER") > max(at for at, (name, _) in enumerate(FINAL) if name == "RUN")


@pytest.mark.parametrize("instruction", ["ENTRYPOINT", "CMD"])
def test_signals_reach_gunicorn_because_no_shell_is_between(instruction: str) -> None:
    (command,) = of(FINAL, instruction)

    assert json.loads(command) == (["velro-auth"] if instruction == "ENTRYPOINT" else ["serve"])
    assert "serve" in COMMANDS
    assert of(FINAL, "STOPSIGNAL") == ["SIGTERM"]


def test_its_health_check_needs_no_curl() -> None:
    (check,) = of(FINAL, "HEALTHCHECK")

    assert json.loads(check.partition("CMD ")[2]) == ["velro-auth", "health"]
    assert "health" in COMMANDS


def test_every_package_is_checked_by_its_hash() -> None:
    installs = [rest for rest in of(BUILD, "RUN") + of(FINAL, "RUN") if " install " in rest or " wheel " in rest]

    assert len(installs) == 4
    assert [rest for rest in installs if not ("--require-hashes" in rest or "--no-index" in rest)] == []
    assert "--no-build-isolation" in next(rest for rest in installs if " wheel " in rest)


def test_what_it_copies_is_there_and_is_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}

    assert [name for name in copied() if not (ROOT / name).exists()] == []
    assert set(copied()) == sent
    assert "*" in (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    program = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if program is None:
        assert "CI" not in os.environ, "hadolint is missing: make setup"
        pytest.skip("hadolint is not installed: make setup (Linux and macOS only)")

    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "")


def test_it_copies_all_that_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages, places = project["tool"]["setuptools"]["packages"], project["tool"]["setuptools"]["package-dir"]
    folders = {name.partition(".")[0] for name in packages} | set(places.values())
    files = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}

    assert folders <= set(copied())
    assert {name for name in files if name.partition("/")[0] not in folders} <= set(copied())


def test_the_lock_file_is_copied_before_the_code() -> None:
    """Otherwise each change of the code would install every package again."""
    order = [name for name, rest in BUILD if name == "COPY" or (name == "RUN" and "requirements.lock" in rest)]

    assert copied()[0] == "requirements.lock"
    assert order[:2] == ["COPY", "RUN"]


def test_neither_file_holds_a_secret() -> None:
    secret = {spec.metadata["variable"] for spec in specs() if spec.metadata["secret"]}
    text = (ROOT / "Dockerfile").read_text("utf-8")
    given = {name for service in services().values() for name in service.get("environment", {})}

    assert secret
    assert {name for name in secret if name in text} == set()
    assert given & secret <= {"REDIS_URL"}
    assert "@" not in services()["gateway"]["environment"]["REDIS_URL"]
    assert not re.search(r"\b(sb_secret_|eyJ)", text + (ROOT / "compose.yaml").read_text("utf-8"))


def test_the_service_understands_what_compose_gives_it() -> None:
    given = services()["gateway"]["environment"]
    project = {"SUPABASE_URL": "https://abcdefgh.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_0123456789abcdef"}

    settings = Settings.from_environment({**project, **given})

    assert settings.errors == ()
    assert {name for name in given if settings.origins[name] == "environment"} == set(given)


@pytest.mark.parametrize("name", ["gateway", "valkey", "caddy"])
def test_no_container_may_do_more_than_it_needs(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_only_caddy_is_reached_from_outside() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["caddy"]
    assert services()["valkey"]["networks"] == ["inside"]


def test_only_caddy_s_network_is_believed() -> None:
    networks = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["networks"]

    assert networks["outside"]["ipam"]["config"] == [
        {"subnet": services()["gateway"]["environment"]["TRUSTED_PROXIES"]}
    ]
    assert networks["inside"]["internal"] is True
    assert "header_up X-Real-IP {remote_host}" in (ROOT / "deploy/container/Caddyfile").read_text("utf-8")


def test_requests_in_flight_may_end() -> None:
    assert seconds(services()["gateway"]["stop_grace_period"]) > GRACEFUL_S
    conf = (ROOT / "velro_auth/server/gunicorn_conf.py").read_text("utf-8")
    assert f"\ngraceful_timeout = {GRACEFUL_S}\n" in conf


def test_what_compose_mounts_is_there() -> None:
    mounts = [mount for service in services().values() for mount in service.get("volumes", ())]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []
