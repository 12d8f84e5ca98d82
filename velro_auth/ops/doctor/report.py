"""Shows results: a table for people, a JSON document for programs, and the reference page."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from rich.markup import escape

from velro_auth import __version__
from velro_auth.health_checks import Grade
from velro_auth.ops.doctor.checkup import Check, Result, overall, skipped_for_lack_of
from velro_auth.ops.doctor.fix import FixResult

#: Named in each document; the number changes when a member changes its meaning.
SCHEMA: Final = "velro-auth/doctor/1"

#: The worst grade is the exit status.
EXIT: Final[Mapping[Grade, int]] = {"pass": 0, "warn": 1, "fail": 2}

_MARKS: Final = {"pass": "[green]pass[/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]", "skip": "[dim]skip[/]"}


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Return the table, line by line, in rich's markup."""
    width = max((len(result.check.name) for result in results), default=0)
    for group, members in itertools.groupby(results, key=lambda result: result.check.group):
        yield f"\n[bold]{group}[/]"
        for result in members:
            yield f"  {_MARKS[result.status]}  {result.check.name:<{width}}  {escape(result.found)}"
            if result.status in {"warn", "fail"}:
                yield f"        why   {escape(result.check.why)}"
                yield f"        fix   {escape(result.fix)}"
    counts = {mark: sum(result.status == mark for result in results) for mark in _MARKS}
    yield "\n" + ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
    for give, names in skipped_for_lack_of(results).items():
        yield f"Not checked without {escape(give)}: {', '.join(names)}"


def document(results: Sequence[Result], *, fix_result: FixResult | None, at: dt.datetime) -> Mapping[str, Any]:
    """Return what ``--json`` prints; docs/reference/doctor.md describes each member."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "at": at.isoformat(timespec="seconds"),
        "status": overall(results),
        "checks": [
            {
                "id": result.check.name,
                "group": result.check.group,
                "status": result.status,
                "found": result.found,
                "why": result.check.why,
                "mend": result.fix,
                "took_ms": round(result.took_ms, 1),
            }
            for result in results
        ],
        "not_checked": [{"give": give, "checks": names} for give, names in skipped_for_lack_of(results).items()],
        "fix": fix_result
        and {
            "changes": list(fix_result.changes),
            "remarks": list(fix_result.remarks),
            "rollback_file": fix_result.rollback_file and str(fix_result.rollback_file),
        },
    }


def page(checks: Sequence[Check]) -> str:
    """Return ``docs/reference/doctor.md``."""
    parts = [resources.files("velro_auth.ops.doctor").joinpath("reference.md").read_text("utf-8")]
    for group, members in itertools.groupby(checks, key=lambda check: check.group):
        parts.append(f"### {group}\n\n| check | examines | why | fix |\n| --- | --- | --- | --- |\n")
        parts += [f"| `{one.name}` | {one.what} | {one.why} | {_cell(one.fix)} |\n" for one in members]
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
