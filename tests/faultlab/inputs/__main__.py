"""Run the generated inputs: ``python -m tests.faultlab.inputs --count 1000000 --json inputs.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from tests.faultlab.inputs.answers import Answers
from tests.faultlab.inputs.heads import Requests
from tests.faultlab.inputs.part import Part
from tests.faultlab.inputs.proofs import SealedValues, Solutions, Tokens
from tests.faultlab.inputs.routes import Routes
from tests.faultlab.inputs.run import Row, is_good, line_of, run_part, share_of
from tests.faultlab.inputs.values import AddressesPart, RedirectsPart, SettingsPart

PARTS: Final[tuple[type[Part], ...]] = (
    Requests,
    Routes,
    Tokens,
    SealedValues,
    Solutions,
    Answers,
    SettingsPart,
    AddressesPart,
    RedirectsPart,
)
#: Longest input that is printed; ``--at`` makes it again.
_PRINTED: Final = 600


@click.command()
@click.option("--count", default=1_000_000, show_default=True, type=click.IntRange(1), help="Inputs in all.")
@click.option("--seed", default=1, show_default=True, help="For everything random.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result to this file.")
@click.option("--only", default="", help="The name of one part.")
@click.option("--at", default=None, type=int, help="With --only: the number of the one input to try again.")
def main(count: int, seed: int, file: Path | None, only: str, at: int | None) -> None:
    """Give generated bad inputs to every parser and every route; the exit status is 0 if none went wrong."""
    chosen = [part for part in PARTS if only in {"", part.name}]
    if not chosen or (at is not None and not only):
        raise click.BadParameter(f"there are {', '.join(part.name for part in PARTS)}", param_hint="--only")
    started_s, rows = time.perf_counter(), list[Row]()
    for part in chosen:
        row = run_part(part, share_of(part, count) if at is None else 1, seed, at=at or 0)
        rows.append(row)
        click.echo(line_of(row))
    for row in rows:
        _tell_of(row, seed)
    took_s = time.perf_counter() - started_s
    click.echo(f"{sum(row['inputs'] for row in rows):,} inputs in {took_s:.0f} s")
    if file:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "seed": seed, "parts": rows}
        file.write_text(json.dumps(told | {"took_s": round(took_s)}, indent=1) + "\n", "utf-8")
    sys.exit(not all(map(is_good, rows)))


def _tell_of(row: Row, seed: int) -> None:
    """Print what a part lacks, and the first failing input of each kind."""
    for lack in row["lacks"]:
        click.echo(f"{row['part']}: {lack}")
    for failure in row["failures"]:
        click.echo(f"{row['part']}: {failure['count']} times {failure['kind']}")
        click.echo(f"  --seed {seed} --only {row['part']!r} --at {failure['at']}\n  {failure['input'][:_PRINTED]}")
        for line in failure["told"]:
            click.echo(f"  {line[:_PRINTED]}")


if __name__ == "__main__":
    main()
