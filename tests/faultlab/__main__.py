"""Run the fault lab: ``python -m tests.faultlab --only S1,S14 --json faultlab.json``."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Final

import click

from tests.faultlab.registry import Scenario, scenarios
from tests.faultlab.runner import PASSED, Row, read_rows, run_all, write_rows

DEFAULT_S: Final = 45.0


def _chosen(only: str, *, fleet: bool) -> list[Scenario]:
    known = {scenario.id: scenario for scenario in scenarios()}
    if only:
        wanted = [name.strip().upper() for name in only.split(",") if name.strip()]
        if unknown := [name for name in wanted if name not in known]:
            raise click.BadParameter(f"there is no scenario {', '.join(unknown)}: see --list", param_hint="--only")
        return [known[name] for name in wanted]
    return [scenario for scenario in known.values() if scenario.is_of_the_fleet == fleet]


@click.command()
@click.option("--only", default="", metavar="S1,S14", help="Run these. Other rows of the file of --json are kept.")
@click.option("--resume", is_flag=True, help="Leave out what passed already, by the file of --json.")
@click.option("--fleet", is_flag=True, help="Run the scenarios of several replicas (R1, R2 …) instead.")
@click.option("--seconds", default=DEFAULT_S, show_default=True, help="Longest time of load and fault in a scenario.")
@click.option("--patience", default=1.0, show_default=True, help="Multiply bounds on time, on a busy machine.")
@click.option("--seed", default=1, show_default=True, help="For everything random.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write a row a scenario to this file.")
@click.option("--without-guard", is_flag=True, help="Switch each scenario's guard off first: each has to fail.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the logs of the programs in this folder.")
@click.option("--list", "lists", is_flag=True, help="Print the scenarios and stop.")
def main(
    only: str,
    file: Path | None,
    keep: Path | None,
    *,
    resume: bool,
    fleet: bool,
    seconds: float,
    patience: float,
    seed: int,
    without_guard: bool,
    lists: bool,
) -> None:
    """Break one thing at a time under load, and check what a user notices.

    The exit status is 0 if every chosen scenario passed; with --without-guard, if every one failed.
    """
    chosen = _chosen(only, fleet=fleet)
    if lists:
        for each in chosen:
            click.echo(f"{each.id:4} {each.fault}")
        return
    # A collection among all that is loaded takes 50 ms, in which no thread of the load runs.
    gc.collect()
    gc.freeze()
    known = read_rows(file) if file and (only or resume) else []
    right = "failed" if without_guard else PASSED
    done = {row["id"] for row in known if row["verdict"] == right} if resume else set()
    rows = {row["id"]: row for row in known}

    def tell(row: Row) -> None:
        rows[row["id"]] = row
        if file:
            write_rows(file, rows.values())
        figures = ", ".join(f"{name} {value}" for name, value in row["figures"].items())
        click.echo(f"{row['id']:4} {row['verdict']:8} {row['took_s']:5.0f} s  {row['fault']}: {figures}")
        for failure in row["failures"]:
            click.echo(f"       - {failure}")

    run_all(
        [each for each in chosen if each.id not in done],
        tell=tell,
        seconds=seconds,
        patience=patience,
        seed=seed,
        without_guard=without_guard,
        keep=keep,
    )
    good = sum(rows.get(each.id, {}).get("verdict") == right for each in chosen)
    click.echo(f"{good} of {len(chosen)} {right}" + (" with the guard off" if without_guard else ""))
    sys.exit(good != len(chosen))


if __name__ == "__main__":
    main()
