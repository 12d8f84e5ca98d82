"""Chains of audit records: each line carries the hash of the one before, so that none can be changed unseen.

A record is one JSON line with the members ``chain`` (which process wrote it), ``seq`` (counted from 1), ``prev`` and
``hash``. ``hash`` is the SHA-256 of ``prev`` and of the record without ``hash`` as canonical JSON: keys sorted, no
spaces, ASCII. Chains of several processes, and lines that are no records, may share a file.

A record that could not be written has a number too, so it leaves a gap, and a later record of its chain says how many
there were (``lost``). A gap that no record accounts for is a fault.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: What the first record of a chain names as the hash before it.
GENESIS: Final = "0" * 64

#: The event that ends a chain in good order.
CLOSED: Final = "trail_closed"


def digest(record: Mapping[str, Any]) -> str:
    """Return the hash of a record; a member ``hash`` is left out."""
    members = {name: value for name, value in record.items() if name != "hash"}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(str(record["prev"]).encode() + canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file, and where.

    Attributes:
        line: Number of the line, from 1.
        what: One sentence.
    """

    line: int
    what: str


@dataclass(slots=True)
class Gap:
    """Numbers that a chain skips.

    Attributes:
        line: Number of the line behind the gap.
        first: The first number that is not there.
        last: The last one.
        lost: How many of them later records call lost.
    """

    line: int
    first: int
    last: int
    lost: int = 0

    @property
    def is_explained(self) -> bool:
        """Whether all of them are."""
        return self.lost == self.last - self.first + 1


@dataclass(slots=True)
class Chain:
    """How far a chain was followed.

    Attributes:
        records: How many records it has had; the last one's ``seq``.
        head: The last one's hash.
        is_closed: Whether its process ended it in good order; a killed one does not.
        gaps: Where numbers are skipped.
    """

    records: int = 0
    head: str = GENESIS
    is_closed: bool = False
    gaps: list[Gap] = field(default_factory=list)


@dataclass(slots=True)
class ChainReport:
    """What was found in a file.

    Attributes:
        chains: Every chain in it.
        faults: What is wrong; empty when nothing is.
        losses: What could not be written, as the chains themselves say.
        lost: How many records that are.
        is_torn: Whether the last line is unfinished, as a power failure leaves it. That is no fault.
    """

    chains: dict[str, Chain] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lost_records: list[Fault] = field(default_factory=list)
    lost: int = 0
    is_torn: bool = False


def verify(lines: Iterable[bytes]) -> ChainReport:
    """Follow every chain in *lines*, which keep their line ends.

    Whoever cuts off the end of a chain leaves nothing to be found by its hashes: compare ``records`` and ``head``
    with what was shipped elsewhere. A chain that is not closed although its process ended in good order is a
    hint as well.
    """
    verdict = ChainReport()
    for number, line, is_whole in _numbered(lines):
        record = _parsed(line)
        if record is None and not is_whole:
            verdict.is_torn = True
        elif record is None:
            verdict.faults.append(Fault(number, "the line is not JSON: damaged, or torn off by a full disk"))
        elif "chain" in record:
            what = _follow(verdict, record, number)
            if what:
                verdict.faults.append(Fault(number, what))
    for chain in verdict.chains.values():
        for gap in chain.gaps:
            (verdict.lost_records if gap.is_explained else verdict.faults).append(_told(gap))
    verdict.faults.sort(key=lambda fault: fault.line)
    verdict.lost_records.sort(key=lambda fault: fault.line)
    return verdict


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line, line.endswith(b"\n")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _follow(verdict: ChainReport, record: Mapping[str, Any], line: int) -> str:
    """Take one record into its chain; return what is wrong with it."""
    seq, prev, claimed = record.get("seq"), record.get("prev"), record.get("hash")
    if type(seq) is not int or not isinstance(prev, str) or not isinstance(claimed, str):
        return "the record lacks its place in the chain: changed"
    if digest(record) != claimed:
        # What it claims about its place cannot be believed; the next one will show whether it fits.
        return f"record {seq} does not match its own hash: changed"
    chain = verdict.chains.setdefault(str(record["chain"]), Chain())
    what = _misplaced(chain, seq, prev)
    if seq > chain.records + 1:
        chain.gaps.append(Gap(line, chain.records + 1, seq - 1))
    lost = record.get("lost")
    lost = lost if type(lost) is int and lost > 0 else 0
    verdict.lost += lost
    unplaced = _explain(chain.gaps, lost)
    if unplaced:
        # Trails of earlier releases gave no numbers to what was lost.
        verdict.lost_records.append(
            Fault(line, f"{unplaced} records were lost before record {seq}: they could not be written")
        )
    chain.records, chain.head, chain.is_closed = seq, claimed, record.get("event") == CLOSED
    return what


def _explain(gaps: Iterable[Gap], lost: int) -> int:
    """Account for *lost* records, the oldest gap first; return how many lie in no gap."""
    for gap in gaps:
        taken = min(lost, gap.last - gap.first + 1 - gap.lost)
        gap.lost += taken
        lost -= taken
    return lost


def _told(gap: Gap) -> Fault:
    some = f"records {gap.first} to {gap.last}"
    if gap.is_explained:
        return Fault(gap.line, f"{some} were lost before record {gap.last + 1}: they could not be written")
    known = f"; {gap.lost} of them could not be written" if gap.lost else ""
    return Fault(gap.line, f"{some} are missing before record {gap.last + 1}{known}")


def _misplaced(chain: Chain, seq: int, prev: str) -> str:
    if seq <= chain.records:
        return f"record {seq} follows record {chain.records}: reordered or repeated"
    if seq == chain.records + 1 and prev != chain.head:
        return f"record {seq} does not continue record {chain.records}: another chain was put in"
    if chain.is_closed:
        return f"record {seq} follows the end of its chain"
    return ""
