"""What is documented is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ENVIRONMENT
from velro_auth.auth.requirements import identity_headers
from velro_auth.auth.tokens import Claims
from velro_auth.config.settings import Settings
from velro_auth.ops.cli import COMMANDS
from velro_auth.ops.cli.config import dotenv, table
from velro_auth.ops.cli.dev import DEMO_EMAIL, DEMO_PASSWORD
from velro_auth.ops.doctor.checks import CHECKS, CLIENT_CHECKS
from velro_auth.ops.doctor.report import page
from velro_auth.web.problems import ANSWERS
from velro_auth.wiring import ROUTES, build

ROOT = Path(__file__).resolve().parent.parent

IDENTITY = tuple(identity_headers(Claims(sub="", session_id="", exp=0)))


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_every_setting_is_in_the_reference_and_in_the_example() -> None:
    assert text(".env.example") == dotenv(), "run: velro-auth config example > .env.example"
    assert text("docs/reference/settings.md") == table(), (
        "run: velro-auth config reference > docs/reference/settings.md"
    )


def test_every_check_of_the_doctor_is_in_the_reference() -> None:
    documented = text("docs/reference/doctor.md")

    assert documented == page((*CHECKS, *CLIENT_CHECKS)), (
        "run: velro-auth doctor --reference > docs/reference/doctor.md"
    )
    for check in (*CHECKS, *CLIENT_CHECKS):
        assert f"| `{check.name}` | {check.what} | {check.why} | " in documented
        assert check.fix


def test_every_error_is_in_the_reference_with_its_status() -> None:
    documented = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", text("docs/reference/errors.md"), re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }

    assert documented == {(answer.status, answer.code) for answer in ANSWERS.values()}


def test_every_route_is_in_the_reference() -> None:
    parts = build(Settings.from_environment(ENVIRONMENT))

    for endpoint in parts.endpoints:
        for path in endpoint.paths:
            path = re.sub("<([a-z_]+)>", r"{\1}", path)  # noqa: PLW2901 - as OpenAPI writes it
            assert f"`{path}`" in re.sub(r"`[A-Z, ]+ /", "`/", text("docs/reference/endpoints.md")), path


def test_every_route_has_a_name_in_the_metrics() -> None:
    parts = build(Settings.from_environment(ENVIRONMENT))

    for endpoint in parts.endpoints:
        assert {ROUTES.name(path) for path in endpoint.paths} == {endpoint.name}


def test_every_command_is_in_the_readme() -> None:
    for command in COMMANDS:
        assert f"velro-auth {command}" in text("README.md")


def test_the_readme_logs_in_as_the_demo_user() -> None:
    assert f'"email": "{DEMO_EMAIL}", "password": "{DEMO_PASSWORD}"' in text("README.md")


@pytest.mark.parametrize("recipe", ["Caddyfile", "nginx.conf", "traefik.yml", "envoy.yaml"])
def test_every_recipe_for_a_gateway_names_every_identity_header(recipe: str) -> None:
    """One that is forgotten in a recipe is one that the client may write itself."""
    told = text(f"deploy/gateways/{recipe}").lower().replace("_", "-")
    if recipe == "envoy.yaml":
        told = told.replace("prefix: x-auth-", " ".join(map(str.lower, IDENTITY)))
    # Once where the gateway's is taken, once where the client's own is removed; Caddy removes all by one pattern.
    least = 1 if recipe == "Caddyfile" else 2

    assert {name: told.count(name.lower()) >= least for name in IDENTITY} == dict.fromkeys(IDENTITY, True)


@pytest.mark.parametrize("path", sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")}), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        assert target.startswith(("http://", "https://")) or (path.parent / target).exists(), target
