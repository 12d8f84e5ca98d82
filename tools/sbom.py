"""Writes a bill of materials (CycloneDX 1.6, JSON) of the service, from ``requirements.lock``.

Every package that an installation from the lock file gets is in it, with the hashes of its files. ``make dist`` writes
it beside the wheels; ``make sbom`` prints it. Which package needs which is not in the lock file, so only the direct
dependencies are linked, and the document says so.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = "requirements.lock"

_LINE: Final = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?"
    r"(?P<hashes>(?: \\\n    --hash=\S+)+)$",
    re.MULTILINE,
)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")

#: Makes the serial number from the content: the same lock file gives the same document.
_NAMESPACE: Final = uuid.UUID("5f2a0c4e-6d1b-5b0e-9a1e-0d6a1c1f7d3b")


def sbom(root: Path, *, made_at: int) -> dict[str, Any]:
    """Return the document.

    Args:
        root: The checkout.
        made_at: Its time, in seconds since 1970: that of the commit, so that it can be made again.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    found = re.search(r'^__version__ = "([^"]+)"$', (root / "velro_auth/__init__.py").read_text("utf-8"), re.MULTILINE)
    assert found, "velro_auth/__init__.py has no version"
    lock = (root / LOCK).read_text("utf-8")
    components = list(_components(lock))
    refs = {one["name"]: one["bom-ref"] for one in components}
    direct = {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    own = f"pkg:pypi/{project['name']}@{found[1]}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, own + lock)}",
        "version": 1,
        "metadata": {
            "timestamp": dt.datetime.fromtimestamp(made_at, dt.UTC).isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": found[1],
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": own,
            },
        },
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": sorted(refs[name] for name in direct)}],
        "compositions": [{"aggregate": "incomplete", "dependencies": [own]}],
    }


def _components(lock: str) -> Iterator[dict[str, Any]]:
    for line in _LINE.finditer(lock):
        purl = f"pkg:pypi/{line['name']}@{line['version']}"
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": line["name"],
            "version": line["version"],
            "purl": purl,
            # A release has several files, for several platforms; an installation takes one of them.
            "externalReferences": [
                {
                    "type": "distribution",
                    "url": purl,
                    "hashes": [{"alg": "SHA-256", "content": digest} for digest in _HASH.findall(line["hashes"])],
                }
            ],
        }
        if line["marker"]:
            component["properties"] = [{"name": "velro-auth:marker", "value": line["marker"].strip()}]
        yield component


def main() -> None:
    """Print the document."""
    argparse.ArgumentParser(description="Print a bill of materials (CycloneDX) of the lock file.").parse_args()
    json.dump(sbom(ROOT, made_at=int(dt.datetime.now(dt.UTC).timestamp())), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
