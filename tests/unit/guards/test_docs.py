"""The page about the throttle gives the numbers that are shipped (ASVS 6.1.1)."""

from __future__ import annotations

import re
from pathlib import Path

from velro_auth.guards.budgets import KINDS, BudgetLimits
from velro_auth.guards.limits import DAY_S, HOUR_S, NEVER, Limit, Limits
from velro_auth.ops.attack import budget

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "throttling.md"


def test_the_table_of_limits_is_the_one_in_the_code() -> None:
    rows = {
        line.split("|")[1].strip(" `"): [cell.strip() for cell in line.split("|")[3:-1]]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| `")
    }

    assert rows == {scope: _cells(limit) for scope, limit in Limits().by_scope().items()}


def _cells(limit: Limit) -> list[str]:
    has_bucket, has_row = limit.refill_s > 0, min(limit.free, limit.stop_at) < NEVER
    days = round(limit.forget_s / DAY_S)
    return [
        str(limit.burst) if has_bucket else "",
        f"{limit.refill_s:.0f} s" if has_bucket else "",
        str(limit.free) if limit.free < NEVER else "",
        str(limit.stop_at) if limit.stop_at < NEVER else "never",
        f"{days} day{'s' if days > 1 else ''}" if has_row else "",
    ]


def test_the_guess_budget_is_the_one_that_is_found() -> None:
    page = PAGE.read_text("utf-8")
    found = budget(Limits(), clients=50, processes=1)

    rows_of_budget = [f"| {guesses:,} |" for guesses in found.values()]

    assert [number for number in rows_of_budget[:3] + rows_of_budget[4:7] if number not in page] == []


def test_the_table_of_budgets_is_the_one_in_the_code() -> None:
    found: dict[str, list[int]] = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        kinds = re.findall(r"`(\w+)`", cells[1]) if len(cells) == 6 else []
        if not set(kinds) & set(KINDS):
            continue
        in_an_hour, otherwise = re.findall(r"[0-9]+", cells[3]), re.findall(r"^[0-9]+", cells[4])
        for kind, count in zip(kinds, in_an_hour or otherwise, strict=True):
            found[kind] = [int(count), *(int(more) for more in otherwise if in_an_hour)]

    assert found == {kind: [window.count for window in windows] for kind, windows in BudgetLimits().by_kind().items()}
    assert all(windows[0].window_s in {HOUR_S, 900} for windows in BudgetLimits().by_kind().values())
