"""Hash chains of audit records: each line holds the hash of the one before, so a changed line is noticed.

A record is one JSON line with the members ``chain`` (which process wrote it), ``seq`` (counted from 1), ``prev`` and
``hash``. ``hash`` is the SHA-256 of ``prev`` and of the record without ``hash`` as canonical JSON: keys sorted, no
spaces, ASCII. Chains of several processes, and lines that are not records, may share a file.

A record that could not be written has a number, too. So it leaves a gap, and a later record of its chain says how many
were lost (``lost``). A gap that no record explains is a fault.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: The previous hash of the first record of a chain.
GENESIS: Final = "0" * 64

#: The event that ends a chain when its process stops normally.
CLOSED: Final = "trail_closed"


def digest(record: Mapping[str, Any]) -> str:
    """Return the hash of a record; a member ``hash`` is left out."""
    members = {name: value for name, value in record.items() if name != "hash"}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(str(record["prev"]).encode() + canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a file, or a loss that a chain reports: the number of the line, from 1, and one sentence."""

    line: int
    what: str


@dataclass(slots=True)
class Gap:
    """Numbers that are missing in a chain, from *first* to *last*, before *line*.

    Later records report that *lost* of them could not be written.
    """

    line: int
    first: int
    last: int
    lost: int = 0

    @property
    def is_explained(self) -> bool:
        """Whether later records report all of them as lost."""
        return self.lost == self.last - self.first + 1

    def describe(self) -> Fault:
        """Return the loss or the fault that this gap is."""
        missing, after = f"records {self.first} to {self.last}", self.last + 1
        if self.is_explained:
            return Fault(self.line, f"{missing} were lost before record {after}: they could not be written")
        known = f"; {self.lost} of them could not be written" if self.lost else ""
        return Fault(self.line, f"{missing} are missing before record {after}{known}")


@dataclass(slots=True)
class Chain:
    """The state of a chain after the lines that were read.

    Attributes:
        records: Number of records; the ``seq`` of the last one.
        head: The hash of the last one.
        is_closed: Whether its process stopped normally.
        gaps: Missing numbers.
    """

    records: int = 0
    head: str = GENESIS
    is_closed: bool = False
    gaps: list[Gap] = field(default_factory=list)

    def explain(self, lost: int) -> int:
        """Assign *lost* records to gaps, the oldest gap first; return how many fit into no gap."""
        for gap in self.gaps:
            assigned = min(lost, gap.last - gap.first + 1 - gap.lost)
            gap.lost += assigned
            lost -= assigned
        return lost

    def misplaced(self, seq: int, prev: str) -> str:
        """Return what is wrong with the position of a record; empty when nothing is."""
        if seq <= self.records:
            return f"record {seq} follows record {self.records}: reordered or repeated"
        if seq == self.records + 1 and prev != self.head:
            return f"record {seq} does not continue record {self.records}: another chain was put in"
        if self.is_closed:
            return f"record {seq} follows the end of its chain"
        return ""


@dataclass(slots=True)
class ChainReport:
    """The result of verifying a file.

    Attributes:
        chains: Every chain in the file.
        faults: What is wrong; empty when nothing is.
        lost_records: Records that could not be written, as the chains report them.
        lost: How many records that are.
        is_torn: Whether the last line is unfinished, as a power failure leaves it. That is no fault.
    """

    chains: dict[str, Chain] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lost_records: list[Fault] = field(default_factory=list)
    lost: int = 0
    is_torn: bool = False


def verify(lines: Iterable[bytes]) -> ChainReport:
    """Verify every chain in *lines*, which keep their line ends.

    The hashes do not reveal that the end of a chain was cut off: compare ``records`` and ``head`` with a copy that is
    kept elsewhere. A chain that is not closed although its process stopped normally is a hint, too.
    """
    report = ChainReport()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _parsed(line)
        if record is None and not line.endswith(b"\n"):
            report.is_torn = True
        elif record is None:
            report.faults.append(Fault(number, "the line is not JSON: damaged, or torn off by a full disk"))
        elif "chain" in record and (what := _follow(report, record, number)):
            report.faults.append(Fault(number, what))
    for chain in report.chains.values():
        for gap in chain.gaps:
            (report.lost_records if gap.is_explained else report.faults).append(gap.describe())
    report.faults.sort(key=lambda fault: fault.line)
    report.lost_records.sort(key=lambda fault: fault.line)
    return report


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _follow(report: ChainReport, record: Mapping[str, Any], line: int) -> str:
    """Add one record to its chain; return what is wrong with it."""
    seq, prev, claimed = record.get("seq"), record.get("prev"), record.get("hash")
    if type(seq) is not int or not isinstance(prev, str) or not isinstance(claimed, str):
        return "the record lacks its place in the chain: changed"
    if digest(record) != claimed:
        # Its position cannot be trusted; the next record shows whether it fits.
        return f"record {seq} does not match its own hash: changed"
    chain = report.chains.setdefault(str(record["chain"]), Chain())
    what = chain.misplaced(seq, prev)
    if seq > chain.records + 1:
        chain.gaps.append(Gap(line, chain.records + 1, seq - 1))
    lost = record.get("lost")
    lost = lost if type(lost) is int and lost > 0 else 0
    report.lost += lost
    if in_no_gap := chain.explain(lost):
        # Earlier releases gave no numbers to lost records.
        text = f"{in_no_gap} records were lost before record {seq}: they could not be written"
        report.lost_records.append(Fault(line, text))
    chain.records, chain.head, chain.is_closed = seq, claimed, record.get("event") == CLOSED
    return what
