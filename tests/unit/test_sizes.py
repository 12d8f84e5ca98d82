"""The page about sizes says what the benchmarks measured, rounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIZES = (ROOT / "docs/how-to/size.md").read_text("utf-8")
MEASURED = (ROOT / "docs/benchmarks.md").read_text("utf-8")

#: Every run of the benchmarks differs a little; beyond this the page misleads.
TOLERANCE = 0.25


def measured(section: str, row: str, column: int = 1) -> float:
    """Return a number of the benchmarks: in the section whose title begins so, in that row."""
    (part,) = [part for part in re.split(r"^## ", MEASURED, flags=re.MULTILINE) if part.startswith(section)]
    (line,) = [line for line in part.splitlines() if line.startswith(f"| {row} |")]
    return float(re.sub(r",|\(.*", "", line.split("|")[column + 1]))


def said(row: str) -> float:
    """Return the number of that row of the page."""
    (line,) = [line for line in SIZES.splitlines() if line.startswith(f"| {row} |")]
    return float(line.split("|")[2].replace(",", ""))


@pytest.mark.parametrize(
    ("row", "section", "of", "column"),
    [
        ("`verify` of a token that was seen before", "`/api/v1/auth/verify` with a known token", "velro-auth", 1),
        ("`/health`, `ping`", "`/health`, 8 connections", "velro-auth", 1),
        ("logins, if Supabase took no time", "Logins a second, upstream 0 ms", "velro-auth", 1),
        ("logins, if Supabase takes 70 ms", "Processes and threads", "1 process, 32 threads, bound", 1),
        ("one worker after the start", "From start to the first 200", "velro-auth", 2),
        ("one worker after 300 logins", "From start to the first 200", "velro-auth", 3),
    ],
)
def test_each_figure_was_measured(row: str, section: str, of: str, column: int) -> None:
    assert said(row) == pytest.approx(measured(section, of, column), rel=TOLERANCE)


def test_the_table_of_logins_is_permits_divided_by_time() -> None:
    rows = re.findall(r"^\| (\d+) ms \| (\d+) \| (\d+) \|$", SIZES, re.MULTILINE)

    assert len(rows) == 3
    for milliseconds, few, many in rows:
        for permits, logins in ((24, few), (48, many)):
            assert float(logins) == pytest.approx(permits * 1000 / float(milliseconds), rel=0.02)
