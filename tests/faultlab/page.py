"""Writes the table of faults: into docs/explanation/fault-table.md, and a line into the README."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from tests.faultlab.registry import Scenario, scenarios
from tests.faultlab.runner import FAILED, PASSED, Row, read_rows

PAGE: Final = Path("docs/explanation/fault-table.md")
README: Final = Path("README.md")

_BEGIN: Final = "<!-- faultlab -->"

#: Said in every row: not worth a place in the table.
_USUAL: Final = frozenset({"health p99", "machine p99"})

_TEMPLATE: Final = Path(__file__).with_name("page.md")
_TABLES: Final = "<!-- tables -->\n"
_INPUTS: Final = "<!-- inputs -->\n"
#: Verdicts that are named in a row; the file has all.
_NAMED: Final = 6


def page(rows: Sequence[Row], off: Sequence[Row], known: Sequence[Scenario], inputs: Row | None = None) -> str:
    """Return the page.

    Args:
        rows: The results of scenarios.
        off: The same with their guards off.
        known: All scenarios.
        inputs: The result of the generated inputs; None if none is recorded.
    """
    by_id, by_id_off = {row["id"]: row for row in rows}, {row["id"]: row for row in off}
    alone = [each for each in known if not each.is_of_the_fleet]
    fleet = [each for each in known if each.is_of_the_fleet]
    parts = [_machine(rows), "## One thing at a time\n\n", _table(alone, by_id)]
    parts += ["\n## Several replicas\n\n", _table(fleet, by_id)]
    parts += ["\n## With the guard switched off\n\n", _off_table(known, by_id_off)]
    return _TEMPLATE.read_text("utf-8").replace(_TABLES, "".join(parts)).replace(_INPUTS, _inputs_table(inputs))


def _inputs_table(told: Row | None) -> str:
    if told is None:
        return "No run is recorded.\n"
    parts = told["parts"]
    failed = sum(failure["count"] for part in parts for failure in part["failures"])
    count = sum(part["inputs"] for part in parts)
    where = f"{told['at'][:10]}, {told['machine']}"
    what = f"{count:,} inputs with `--seed {told['seed']}` in {told['took_s']:,} s, of which {failed:,} went wrong"
    lines = [
        f"Recorded: {where}: {what}.",
        "",
        "| part | inputs | what came of them | seconds |",
        "| --- | --- | --- | --- |",
    ]
    for part in parts:
        verdicts = [f"{verdict}: {count:,}" for verdict, count in part["verdicts"].items()]
        rest = [f"{len(verdicts) - _NAMED} other kinds"] if len(verdicts) > _NAMED else []
        cells = (part["part"], f"{part['inputs']:,}", ", ".join(verdicts[:_NAMED] + rest), f"{part['took_s']:.0f}")
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row], known: Sequence[Scenario]) -> str:
    """Return the line of the README."""
    alone = {each.id for each in known if not each.is_of_the_fleet}
    passed = sum(row["verdict"] == PASSED for row in rows if row["id"] in alone)
    return (
        f"{_BEGIN} {len(alone)} faults, from a Supabase that hangs to a full disk, with what a user notices of each;"
        f" {passed} of {len(alone)} passed when they were recorded last (`make faultlab`):"
        " [what happens when something breaks](docs/explanation/fault-table.md)."
    )


def _machine(rows: Iterable[Row]) -> str:
    told = sorted({f"{row['at'][:10]}, {row['machine']}" for row in rows})
    commits = sorted({str(row["commit"]) for row in rows})
    patience = sorted({float(row["patience"]) for row in rows})
    seconds = sorted({float(row["seconds"]) for row in rows})
    if not told:
        return "No run is recorded.\n\n"
    where = "; ".join(told)
    return (
        f"Recorded: {where}, at {', '.join(commits)}. `--seconds` {_list(seconds)}, `--patience` {_list(patience)}.\n\n"
    )


def _list(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _table(known: Iterable[Scenario], rows: Mapping[str, Row]) -> str:
    lines = ["| | fault | what a user notices | bound | measured |", "| --- | --- | --- | --- | --- |"]
    for each in known:
        row = rows.get(each.id)
        measured = _measured(row) if row else "not recorded"
        lines.append(f"| {each.id} | {_cell(each.fault)} | {_cell(each.notices)} | {_cell(each.bound)} | {measured} |")
    return "\n".join(lines) + "\n"


def _measured(row: Row) -> str:
    figures = "; ".join(f"{name}: {_value(value)}" for name, value in row["figures"].items() if name not in _USUAL)
    verdict = "" if row["verdict"] == PASSED else f"**{row['verdict']}**. "
    patience = float(row["patience"])
    slack = "" if patience == 1 else f"; bounds on time were multiplied by {patience:g}"
    return _cell(f"{verdict}{figures or 'passed'}{slack}")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} times {name}" for name, count in sorted(value.items(), key=lambda item: -item[1]))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _off_table(known: Iterable[Scenario], rows: Mapping[str, Row]) -> str:
    lines = ["| | guard | switched off by | what failed then |", "| --- | --- | --- | --- |"]
    for each in known:
        row = rows.get(each.id)
        seen = "not recorded"
        if row is not None:
            seen = _cell(row["failures"][0][:120]) if row["verdict"] == FAILED else f"**{row['verdict']}**"
        lines.append(f"| {each.id} | {_cell(each.guard.name)} | {_cell(each.guard.how)} | {seen} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("${", "$\u200b{")


def with_summary(readme: str, line: str) -> str:
    """Return the README with its line replaced."""
    return re.sub(rf"(?m)^- {re.escape(_BEGIN)}.*$", lambda _: f"- {line}", readme)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=Path("docs/explanation/fault-table.json"))
def main(file: Path) -> None:
    """Write the page and the line from the rows of FILE.

    Those with the guards off are in FILE's sibling -off, the result of the generated inputs in its sibling bad-inputs.
    """
    rows, off = read_rows(file), read_rows(file.with_stem(f"{file.stem}-off"))
    of_inputs = file.with_stem("bad-inputs")
    inputs = json.loads(of_inputs.read_text("utf-8")) if of_inputs.exists() else None
    known = scenarios()
    PAGE.write_text(page(rows, off, known, inputs), "utf-8")
    README.write_text(with_summary(README.read_text("utf-8"), summary(rows, known)), "utf-8")


if __name__ == "__main__":
    main()
