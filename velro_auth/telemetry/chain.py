"""Chains of audit records: each line carries the hash of the one before, so that none can be changed unseen.

A record is one JSON line with the members ``chain`` (which process wrote it), ``seq`` (counted from 1), ``prev`` and
``hash``. ``hash`` is the SHA-256 of ``prev`` and of the record without ``hash`` as canonical JSON: keys sorted, no
spaces, ASCII. Chains of several processes, and lines that are no records, may share a file.
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
class Chain:
    """How far a chain was followed.

    Attributes:
        records: How many records it has; the last one's ``seq``.
        head: The last one's hash.
        is_closed: Whether its process ended it in good order; a killed one does not.
    """

    records: int = 0
    head: str = GENESIS
    is_closed: bool = False


@dataclass(slots=True)
class Verdict:
    """What was found in a file.

    Attributes:
        chains: Every chain in it.
        faults: What is wrong; empty when nothing is.
        is_torn: Whether the last line is unfinished, as a power failure leaves it. That is no fault.
    """

    chains: dict[str, Chain] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    is_torn: bool = False


def verify(lines: Iterable[bytes]) -> Verdict:
    """Follow every chain in *lines*, which keep their line ends.

    Whoever cuts off the end of a chain leaves nothing to be found by its hashes: compare ``records`` and ``head``
    with what was shipped elsewhere. A chain that is not closed although its process ended in good order is a
    hint as well.
    """
    verdict = Verdict()
    for number, line, is_whole in _numbered(lines):
        record = _parsed(line)
        if record is None and not is_whole:
            verdict.is_torn = True
        elif record is None:
            verdict.faults.append(Fault(number, "the line is not JSON: damaged"))
        elif "chain" in record:
            what = _follow(verdict.chains, record)
            if what:
                verdict.faults.append(Fault(number, what))
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


def _follow(chains: dict[str, Chain], record: Mapping[str, Any]) -> str:
    """Take one record into its chain; return what is wrong with it."""
    seq, prev, claimed = record.get("seq"), record.get("prev"), record.get("hash")
    if type(seq) is not int or not isinstance(prev, str) or not isinstance(claimed, str):
        return "the record lacks its place in the chain: changed"
    if digest(record) != claimed:
        # What it claims about its place cannot be believed; the next one will show whether it fits.
        return f"record {seq} does not match its own hash: changed"
    chain = chains.setdefault(str(record["chain"]), Chain())
    what = _misplaced(chain, seq, prev)
    chains[str(record["chain"])] = Chain(seq, claimed, record.get("event") == CLOSED)
    return what


def _misplaced(chain: Chain, seq: int, prev: str) -> str:
    if seq <= chain.records:
        return f"record {seq} follows record {chain.records}: reordered or repeated"
    if seq > chain.records + 1:
        return f"records {chain.records + 1} to {seq - 1} are missing before record {seq}"
    if prev != chain.head:
        return f"record {seq} does not continue record {chain.records}: another chain was put in"
    if chain.is_closed:
        return f"record {seq} follows the end of its chain"
    return ""
