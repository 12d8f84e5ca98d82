"""``velro-auth audit``: is the audit trail complete and unchanged?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from velro_auth.telemetry.chain import ChainReport, verify


@click.group()
def audit() -> None:
    """Look into the audit trail."""


@audit.command(name="verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def verify_file(file: Path) -> None:
    """Follow every chain of records in FILE, and name each line that was changed, removed, repeated, moved or lost.

    FILE may hold other log lines, too: each a JSON object, as the service writes them. Any other line counts as
    damaged. An unfinished last line is no fault. Compare the heads with what was shipped elsewhere: a cut-off end
    leaves no other trace than a chain with an open end.

    Exit status: 0 unbroken; 1 broken, or FILE holds no record; 2 wrong usage.
    """
    with file.open("rb") as lines:
        verdict = verify(lines)
    _print(verdict, file)
    sys.exit(1 if verdict.faults or verdict.lost_records or not verdict.chains else 0)


def _print(verdict: ChainReport, file: Path) -> None:
    for name, chain in verdict.chains.items():
        end = "closed" if chain.is_closed else "open end"
        print(f"{name}  {chain.records} records  {end}  head {chain.head}")
    if verdict.is_torn:
        print("The last line is unfinished: torn off while it was written.")
    for fault in (*verdict.lost_records, *verdict.faults):
        print(f"{file}:{fault.line}: {fault.what}")
    print(_summary(verdict, file))


def _summary(verdict: ChainReport, file: Path) -> str:
    if verdict.faults:
        return f"{len(verdict.faults)} faults"
    if verdict.lost_records:
        return f"Incomplete: {verdict.lost} records could not be written; nothing else is wrong."
    if not verdict.chains:
        return f"{file} holds no record of an audit trail: is it the file that AUDIT_FILE names?"
    return f"Unbroken: {sum(chain.records for chain in verdict.chains.values())} records."
