"""The bill of materials: valid by the schema of CycloneDX, and the same packages as in the lock file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from tools.sbom import sbom
from velro_auth import __version__

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
MADE_AT = 1_800_000_000


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom(ROOT, made_at=MADE_AT)


def test_it_is_valid(bill: dict[str, Any]) -> None:
    check = JsonStrictValidator(SchemaVersion.V1_6).validate_str

    assert check(json.dumps(bill)) is None
    assert check(json.dumps({**bill, "components": [{"type": "library"}]})) is not None


def test_it_has_every_package_of_the_lock_file_with_every_hash(bill: dict[str, Any]) -> None:
    locked = set(re.findall(r"^([a-z0-9.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE))
    told = {(one["name"], one["version"]) for one in bill["components"]}
    hashes = {made["content"] for one in bill["components"] for made in one["externalReferences"][0]["hashes"]}

    assert told == locked
    assert len(told) > 30
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_a_package_for_some_platforms_only_says_so(bill: dict[str, Any]) -> None:
    told = {one["name"] for one in bill["components"] if "properties" in one}

    assert told == set(re.findall(r"^([a-z0-9.-]+)==\S+ ; ", LOCK, re.MULTILINE))


def test_the_service_is_named_with_what_it_needs_itself(bill: dict[str, Any]) -> None:
    own = bill["metadata"]["component"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (links,) = bill["dependencies"]

    assert (own["name"], own["version"]) == ("velro-auth", __version__)
    assert links["ref"] == own["bom-ref"]
    needed = {Requirement(line).name for line in project["dependencies"]}
    assert {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in links["dependsOn"]} == needed


def test_the_same_lock_file_gives_the_same_document(bill: dict[str, Any]) -> None:
    assert sbom(ROOT, made_at=MADE_AT) == bill
    assert bill["metadata"]["timestamp"] == "2027-01-15T08:00:00Z"
    assert "://" not in json.dumps(bill["components"])
