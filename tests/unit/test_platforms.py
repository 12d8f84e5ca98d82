"""What ``deploy/`` gives to platforms fits the service: paths, times, names of settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ENVIRONMENT
from velro_auth.config.settings import Settings
from velro_auth.wiring import build

ROOT = Path(__file__).resolve().parents[2]

#: How long gunicorn finishes requests (velro_auth/server/gunicorn_conf.py).
GRACEFUL_S = 25


def render() -> dict[str, Any]:
    (service,) = yaml.safe_load((ROOT / "deploy/render/render.yaml").read_text("utf-8"))["services"]
    assert isinstance(service, dict)
    return service


def fly() -> dict[str, Any]:
    return tomllib.loads((ROOT / "deploy/fly/fly.toml").read_text("utf-8"))


def given(platform: str) -> dict[str, str]:
    """Return the variables that a platform's file sets."""
    if platform == "render":
        return {one["key"]: one["value"] for one in render()["envVars"] if "value" in one}
    found: dict[str, str] = fly()["env"]
    return found


@pytest.mark.parametrize("platform", ["render", "fly"])
def test_the_service_understands_what_it_is_given(platform: str) -> None:
    settings = Settings.from_environment({**ENVIRONMENT, **given(platform)})

    assert settings.errors == ()
    assert {name: settings.origins[name] for name in given(platform)} == dict.fromkeys(given(platform), "environment")


def test_the_page_for_heroku_sets_what_the_service_understands() -> None:
    page = (ROOT / "docs/how-to/deploy-on-heroku.md").read_text("utf-8")
    (command,) = re.findall(r"heroku config:set ((?:.*\\\n)*.*)\n", page)
    names = set(re.findall(r"\b([A-Z][A-Z_]+)=", command)) - {"TMPDIR"}

    assert names <= Settings.from_environment(ENVIRONMENT).origins.keys()
    assert len(names) > 5


def test_an_outage_of_supabase_restarts_nothing() -> None:
    """/health/ready fails while Supabase does not answer; /health does not."""
    (check,) = fly()["http_service"]["checks"]

    assert {render()["healthCheckPath"], check["path"]} == {"/health"}
    assert "/health" in {
        path for endpoint in build(Settings.from_environment(ENVIRONMENT)).endpoints for path in endpoint.paths
    }


def test_requests_in_flight_may_end() -> None:
    conf = (ROOT / "velro_auth/server/gunicorn_conf.py").read_text("utf-8")

    assert f"\ngraceful_timeout = {GRACEFUL_S}\n" in conf
    assert render()["maxShutdownDelaySeconds"] > GRACEFUL_S
    assert fly()["kill_timeout"] > GRACEFUL_S
    # At the SIGINT that Fly sends by default gunicorn drops them.
    assert fly()["kill_signal"] == "SIGTERM"


def test_the_ports_agree() -> None:
    assert str(fly()["http_service"]["internal_port"]) == fly()["env"]["PORT"]
    assert "PORT" not in given("render")


def test_no_file_holds_a_secret() -> None:
    asked = {one["key"] for one in render()["envVars"] if one.get("sync") is False or one.get("generateValue")}

    assert {"SUPABASE_SECRET_KEY", "METRICS_TOKEN"} <= asked
    for folder in ("render", "fly", "heroku"):
        for file in (ROOT / "deploy" / folder).iterdir():
            assert not re.search(r"\b(sb_secret_|eyJ)\w", file.read_text("utf-8"))


def test_the_image_is_built_from_our_dockerfile() -> None:
    heroku = yaml.safe_load((ROOT / "deploy/heroku/heroku.yml").read_text("utf-8"))

    names = {
        heroku["build"]["docker"]["web"],
        render()["dockerfilePath"].removeprefix("./"),
        fly()["build"]["dockerfile"],
    }
    assert names == {"Dockerfile"}
    assert (ROOT / "Dockerfile").is_file()
