"""The file of results, and ``docs/benchmarks.md``, which is made of it."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.results import Measure
from benchmarks.servers import ROOT
from velro_auth.ops.bench.document import commit, machine

SCHEMA: Final = 1

#: What the figures depend on, beside the code.
_PACKAGES: Final = ("gunicorn", "flask", "requests", "supabase", "fastapi", "uvicorn", "uvloop", "httptools", "httpx")

_HEAD: Final = """\
# Benchmarks

This service beside others, all on one machine, in one run, in turn: look at the ratios, not at the absolute numbers.
Each figure is the median of the rounds, with the least and the greatest of them in parentheses; ratios and
differences are taken within a round. Made by `make bench` (`python -m benchmarks`); the peers are in
`benchmarks/peers/`, each as its makers would write and run it: one process, 32 threads where there are threads. To
measure a deployment: [velro-auth bench](how-to/benchmark.md).
"""


def results(found: Sequence[Measure], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file of results.

    Args:
        found: What was measured.
        about: When and how.
    """
    return {
        "schema": SCHEMA,
        **about,
        "machine": machine() | {"cores": os.cpu_count(), "distribution": _distribution()},
        "commit": commit(ROOT),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "measures": [measure.as_json() for measure in found],
    }


def markdown(results: Mapping[str, Any], found: Sequence[Measure]) -> str:
    """Return the page."""
    box, versions = results["machine"], results["versions"]
    pinned = "servers on one core, load and upstream on the others" if results["pinned"] else "nobody bound to a core"
    about = (
        f"{results['started_at'][:10]}, {results['mode']} run of {results['took_s'] / 60:.0f} minutes;"
        f" {box['cores']} cores ({box['processor']}), {box['distribution']}, Python {box['python']};"
        f" load average {', '.join(map(str, box['load_average']))} at the end; {pinned}."
    )
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([_HEAD, about, results["remark"], "", f"{packages}.", "", *(m.as_markdown() for m in found)])


def _version(name: str) -> str:
    """Return the version of a package; empty where it is not installed: not every measure needs the peers."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _distribution() -> str:
    try:
        lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line[13:-1] for line in lines if line.startswith('PRETTY_NAME="')), "unknown")
