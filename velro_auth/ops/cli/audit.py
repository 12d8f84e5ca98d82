"""``velro-auth audit``: check whether the audit trail is complete and unchanged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from velro_auth.ops.cli.click_helpers import json_option, print_json, working
from velro_auth.telemetry.chain import ChainReport, verify


@click.group()
def audit() -> None:
    """Check the audit trail."""


@audit.command(name="verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def verify_file(file: Path, *, as_json: bool) -> None:
    """Check every chain of records in FILE, and print each line that was changed, removed, repeated, moved or lost.

    FILE may hold other log lines, too: each a JSON object, as the service writes them. Any other line counts as
    damaged. An unfinished last line is no fault. Compare the heads with what was shipped elsewhere: a cut-off end
    leaves no other trace than a chain with an open end.
    """
    with file.open("rb") as lines, working("Checking the chain"):
        report = verify(lines)
    if as_json:
        print_json(_document(report))
    else:
        _print(report, file)
    sys.exit(1 if report.faults or report.lost_records or not report.chains else 0)


def _document(report: ChainReport) -> dict[str, Any]:
    return {
        "chains": [
            {"name": name, "records": chain.records, "closed": chain.is_closed, "head": chain.head}
            for name, chain in report.chains.items()
        ],
        "torn": report.is_torn,
        "lost_records": report.lost,
        "faults": [{"line": fault.line, "what": fault.what} for fault in (*report.lost_records, *report.faults)],
    }


def _print(report: ChainReport, file: Path) -> None:
    for name, chain in report.chains.items():
        end = "closed" if chain.is_closed else "open end"
        print(f"{name}  {chain.records} records  {end}  head {chain.head}")
    if report.is_torn:
        print("The last line is unfinished: torn off while it was written.")
    for fault in (*report.lost_records, *report.faults):
        print(f"{file}:{fault.line}: {fault.what}")
    print(_summary(report, file))


def _summary(report: ChainReport, file: Path) -> str:
    if report.faults:
        return f"{len(report.faults)} faults"
    if report.lost_records:
        return f"Incomplete: {report.lost} records could not be written; nothing else is wrong."
    if not report.chains:
        return f"{file} holds no record of an audit trail: is it the file that AUDIT_FILE names?"
    return f"Unbroken: {sum(chain.records for chain in report.chains.values())} records."
