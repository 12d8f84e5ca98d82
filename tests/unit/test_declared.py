"""Every package that is imported is declared, with bounds, by the distribution that imports it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Folder of the code → its metadata.
DISTRIBUTIONS = {
    "velro_auth": "pyproject.toml",
    "supabase_standin": "supabase_standin/pyproject.toml",
    "clients/python/velro_auth_client": "clients/python/pyproject.toml",
}
#: Faces of the client that need the framework they are for.
BROUGHT_BY_THE_CALLER = {"clients/python/velro_auth_client": {"flask"}}
OURS = {"velro_auth", "supabase_standin", "velro_auth_client"}


def imports(folder: Path) -> Iterator[str]:
    """Yield the top-level names that the code imports at run time."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield node.module.partition(".")[0]


def declared(metadata: dict[str, Any]) -> dict[str, str]:
    """Return distribution → its requirement, of the dependencies and of every extra."""
    project = metadata["project"]
    extras = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-"): line for line in lines}


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_every_imported_package_is_declared(folder: str) -> None:
    known = declared(tomllib.loads((ROOT / DISTRIBUTIONS[folder]).read_text("utf-8")))
    found = set(imports(ROOT / folder)) - sys.stdlib_module_names - OURS - BROUGHT_BY_THE_CALLER.get(folder, set())
    of = packages_distributions()

    missing = {
        name
        for name in found - {"_typeshed"}
        if not {dist.lower().replace("_", "-") for dist in of.get(name, [name])} & set(known)
    }

    assert missing == set()
    assert len(found) > 1


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_every_requirement_has_bounds(folder: str) -> None:
    known = declared(tomllib.loads((ROOT / DISTRIBUTIONS[folder]).read_text("utf-8")))

    assert [line for line in known.values() if not ("<" in line or "==" in line)] == []
