"""``velro-auth bench`` as a process of its own, for a few seconds against a small double."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.programs import ROOT, clean_environment, free_port
from tests.unit.ops.bench.gateway import EMAIL, PASSWORD, GatewayDouble, served
from tests.unit.ops.plotted import plots_of

COMMAND = [sys.executable, "-c", "from velro_auth.ops.cli.bench import bench; bench()"]


def bench(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(
        AUTH_BENCH_EMAIL=EMAIL, AUTH_BENCH_PASSWORD=PASSWORD, AUTH_P95_WARNING="20000", AUTH_P95_CRITICAL="30000"
    )
    command = [*COMMAND, "--url", url, "--output-dir", str(folder), *options]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.slow
def test_the_whole_way_from_load_to_report(tmp_path: Path) -> None:
    double = GatewayDouble()
    with served(double) as url:
        first = bench(url, tmp_path, "--rps", "5,20", "--duration", "2", "--html")
        [path] = tmp_path.glob("auth_benchmark_*.json")
        second = bench(url, tmp_path, "--rps", "20", "--duration", "1", "--compare", str(path), "--margin", "100000")

    contents = json.loads(path.read_text("utf-8"))
    assert re.fullmatch(r"auth_benchmark_\d{8}_\d{6}\.json", path.name)
    assert first.returncode in {0, 1}, first.stderr
    assert [level["rps"] for level in contents["levels"]] == [5, 20]
    assert all(level["success_rate_percent"] == 100 for level in contents["levels"])
    assert all(len(level["samples"]) == level["planned"] for level in contents["levels"])
    # One for the check, the rest by schedule; then the second run.
    assert len(double.asked) > 1 + sum(level["planned"] for level in contents["levels"])
    assert len(plots_of(path.with_suffix(".html").read_text("utf-8"))) == 5
    assert second.returncode in {0, 1}, second.stderr
    assert "Since" in second.stdout
    assert "REGRESSION" not in second.stdout
    assert first.stderr == second.stderr == ""


def test_every_layer_of_the_hot_path_can_be_measured() -> None:
    """For the page docs/explanation/hot-path.md; the numbers of so few calls say nothing."""
    command = [sys.executable, "-m", "benchmarks.layers", "--times", "4", "--first-port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    rows = [line for line in done.stdout.decode().splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * 2 + 7 + 9
