"""The result file of a run: ``auth_benchmark_<YYYYMMDD_HHMMSS>.json``.

Its schema is in ``docs/reference/benchmark-file.md``, and a test compares the two. The file contains neither account
names nor passwords, so that it can be published.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from velro_auth import __version__
from velro_auth.ops.bench.figures import Figures
from velro_auth.ops.bench.openloop import Sample
from velro_auth.ops.bench.schedule import Schedule
from velro_auth.ops.verdict import NotMeasured, Verdict

SCHEMA: Final = 1

Document: TypeAlias = dict[str, Any]

_GIT_TIMEOUT_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The result of one level of load."""

    schedule: Schedule
    took_s: float
    connections_opened: int
    samples: Sequence[Sample]
    figures: Figures
    verdict: Verdict


def document(
    levels: Sequence[Level],
    *,
    started: dt.datetime,
    target: Mapping[str, Any],
    settings: Mapping[str, Any],
    verdict: Verdict,
) -> Document:
    """Return the contents of the file."""
    return {
        "schema": SCHEMA,
        "tool": {"name": "velro-auth bench", "version": __version__},
        "started_at": started.isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(Path.cwd()),
        "target": dict(target),
        "settings": dict(settings),
        "levels": [_level(level) for level in levels],
        "verdict": verdict.as_json(),
    }


def write(contents: Document, folder: Path, started: dt.datetime) -> Path:
    """Write *contents* to a new file in *folder* and return its path."""
    path = folder / f"auth_benchmark_{started:%Y%m%d_%H%M%S}.json"
    path.write_text(json.dumps(contents, indent=1) + "\n", "utf-8")
    return path


def read(path: Path) -> Document:
    """Return the contents of an earlier file.

    Raises:
        NotMeasured: This version cannot read it.
    """
    try:
        contents = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NotMeasured(f"{path} cannot be read: {error}") from error
    if not isinstance(contents, dict) or contents.get("schema") != SCHEMA:
        raise NotMeasured(f"{path} is no benchmark file of schema {SCHEMA}")
    return contents


def machine() -> dict[str, Any]:
    """Describe this machine, without its name: the file may be published."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def commit(folder: Path) -> str | None:
    """Return the commit that is checked out in *folder*; None without git or without a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - constant arguments
            [git, "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _level(level: Level) -> Document:
    return {
        "rps": level.schedule.rps,
        "duration_s": round(level.schedule.duration_s, 3),
        "seed": level.schedule.seed,
        "planned": len(level.schedule.arrivals),
        "cut": level.schedule.why_shortened or None,
        "took_s": round(level.took_s, 3),
        "connections_opened": level.connections_opened,
        **dataclasses.asdict(level.figures),
        "verdict": level.verdict.as_json(),
        "samples": [[round(s.at_s, 3), round(s.took_ms, 3), s.counted_as, s.outcome] for s in level.samples],
    }
