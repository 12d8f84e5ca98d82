"""Every claim of the threat model names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "THREAT_MODEL.md").read_text("utf-8")


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table below that title."""
    (part,) = [part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE) if part.startswith(f"{title}\n")]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_every_claim_names_tests_that_exist() -> None:
    for _, claim, shown_by in rows("What holds"):
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", shown_by)
        assert named, claim
        for file, function in named:
            assert (ROOT / file).is_file(), (claim, file)
            assert not function or function in functions(ROOT / file), (claim, function)


def test_every_adversary_is_answered() -> None:
    letters = {re.sub(r"\W", "", cells[0].split()[0]) for cells in rows("Against whom")}
    answered = {cells[0] for cells in rows("What holds")} | set(re.findall(r"^\* \*\*([A-G])\b", TEXT, re.MULTILINE))

    assert letters == answered == set("ABCDEFG")
