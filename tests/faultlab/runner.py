"""Runs scenarios and keeps their rows."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from tests.faultlab.lab import CannotRun, Ground, Lab
from tests.faultlab.registry import Scenario
from tests.fixtures.programs import ROOT

#: One scenario's result, as the file holds it.
Row: TypeAlias = dict[str, Any]

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_RUN: Final = "not run"

MAX_FAILURES: Final = 8


def run(
    scenario: Scenario,
    ground: Ground,
    *,
    seconds: float = 45.0,
    patience: float = 1.0,
    seed: int = 1,
    without_guard: bool = False,
    keep: Path | None = None,
) -> Row:
    """Run one scenario and return its row.

    Args:
        scenario: What to break.
        ground: What all scenarios share.
        seconds: How long load and fault may take.
        patience: Bounds on time are multiplied by it.
        seed: For everything random.
        without_guard: Switch its guard off first; then it should fail.
        keep: A folder for its logs; None forgets them.
    """
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="velro-faultlab-") as name:
        folder = keep / scenario.id if keep else Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        lab = Lab(
            ground,
            folder,
            seconds=seconds,
            patience=patience,
            seed=seed,
            guard=scenario.guard if without_guard else None,
        )
        verdict = _verdict(scenario, lab)
    return {
        "id": scenario.id,
        "verdict": verdict,
        "fired": sum(lab.faults.values()),
        "figures": lab.figures,
        "faults": lab.faults,
        "claims": lab.claims,
        "failures": lab.failures[:MAX_FAILURES],
        "fault": scenario.fault,
        "guard": scenario.guard.name if without_guard else None,
        "took_s": round(time.monotonic() - started_s, 1),
        "seconds": seconds,
        "patience": patience,
        "seed": seed,
        **_circumstances(),
    }


def _verdict(scenario: Scenario, lab: Lab) -> str:
    try:
        try:
            scenario.run(lab)
        finally:
            lab.judge()
    except (CannotRun, pytest.skip.Exception) as reason:
        lab.failures.append(f"cannot run here: {reason}")
        return NOT_RUN
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a scenario that breaks down has not passed
        frames = traceback.extract_tb(error.__traceback__)
        where = [
            frame for frame in frames if "scenarios" in frame.filename or "test_faultlab" in frame.filename
        ] or frames
        text = str(error)[-400:]
        lab.failures.append(f"{type(error).__name__} in {Path(where[-1].filename).name}:{where[-1].lineno}: {text}")
        return FAILED
    if lab.guard is not None:
        # A machine that is busy proves nothing about a guard.
        lab.failures = [failure for failure in lab.failures if not failure.startswith("G3")]
    silent = [what for what, count in lab.faults.items() if count <= 0]
    lab.check("G6: each fault was seen to happen", lab.faults and not silent, silent or "no fault was counted")
    return FAILED if lab.failures else PASSED


def _circumstances() -> Row:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or None,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def run_all(
    chosen: Sequence[Scenario],
    *,
    known: Iterable[Row] = (),
    tell: Callable[[Row], None],
    keep_going: bool = True,
    **options: Any,
) -> list[Row]:
    """Run scenarios one after the other; return all rows: the new ones and those of *known* that were not run again."""
    rows = {row["id"]: row for row in known}
    with tempfile.TemporaryDirectory(prefix="velro-faultlab-ground-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        ground = Ground(folder)
        try:
            for scenario in chosen:
                row = run(scenario, ground, **options)
                rows[scenario.id] = row
                tell(row)
                if row["verdict"] != PASSED and not keep_going:
                    break
        finally:
            ground.close()
    return in_order(rows.values())


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows by the number of their scenario."""
    return sorted(rows, key=lambda row: (row["id"][0] == "R", int(row["id"][1:])))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no file."""
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows so that an interruption leaves the old file or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(in_order(rows), indent=1, ensure_ascii=False) + "\n", "utf-8")
    new.replace(path)
