"""Judges how much of a request has arrived, from its bytes alone.

A hint for *when* a request is handed over, never for *what* it means: gunicorn's parser reads every byte again
and has the last word on framing. A wrong guess costs time, and time is bounded.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

#: Head and body are gathered up to this size while no thread waits for them.
GATHERED_BYTES: Final = 64 * 1024
#: A probe with a longer head is answered by the pool.
PROBE_BYTES: Final = 4 * 1024

_END_OF_HEAD: Final = b"\r\n\r\n"
_PROBE: Final = re.compile(rb"(?:GET|HEAD) ([^ ?]+)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")
#: Headers that say what follows the head.
_FRAMING: Final = re.compile(
    rb"\n(content-length|transfer-encoding|expect|upgrade)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"[0-9]{1,9}")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
#: Longer than any chunk's size line that ``_CHUNK`` knows.
_CHUNK_LINE_BYTES: Final = 10
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class Stage(enum.Enum):
    """How far a request has come."""

    #: More has to arrive, and nobody needs to wait for it.
    PARTIAL = enum.auto()
    #: All of it is there, and the main thread may answer it.
    PROBE = enum.auto()
    #: All of it is there.
    WHOLE = enum.auto()
    #: Too large to be gathered, or odd: a thread has to read on, or gunicorn has to refuse it.
    OPEN = enum.auto()


@dataclass(slots=True)
class Arrival:
    """A request on its way in.

    Attributes:
        data: What has arrived of it, and maybe of the next one.
        scanned: How many bytes need not be looked at again.
        body_at: Where the body starts; 0 while the head is incomplete.
        needs: Size of the whole request in bytes; 0 when unknown or chunked.
    """

    data: bytearray
    scanned: int = 0
    body_at: int = 0
    needs: int = 0


class Intake:
    """Tells stages apart.

    Args:
        probe_paths: Exact paths that may be answered on the main thread.
        limit_request_line: gunicorn's limit, in bytes; a longer line is handed over to be refused.
    """

    def __init__(self, *, probe_paths: Collection[str], limit_request_line: int) -> None:
        self._probe_paths = frozenset(path.encode("latin-1") for path in probe_paths)
        # An empty line may precede it (RFC 9112, 2.2), and its end belongs to it.
        self._longest_line = limit_request_line + 4

    def judge(self, arrival: Arrival) -> Stage:
        """Return the stage of *arrival*, looking only at what is new."""
        if not arrival.body_at:
            stage = self._judge_head(arrival)
            if stage is not None:
                return stage
        if arrival.needs:
            return Stage.WHOLE if len(arrival.data) >= arrival.needs else Stage.PARTIAL
        return _judge_chunks(arrival)

    def _judge_head(self, arrival: Arrival) -> Stage | None:
        end = arrival.data.find(_END_OF_HEAD, max(0, arrival.scanned - len(_END_OF_HEAD)))
        if end < 0:
            return self._judge_partial_head(arrival)
        head = bytes(arrival.data[: end + 2])
        arrival.body_at = arrival.scanned = end + len(_END_OF_HEAD)
        framing = _FRAMING.findall(head)
        if not framing:
            return Stage.PROBE if self._is_probe(head) else Stage.WHOLE
        if len(framing) > 1:
            return Stage.OPEN
        return _judge_framing(arrival, *framing[0])

    def _judge_partial_head(self, arrival: Arrival) -> Stage:
        data = arrival.data
        is_odd = (
            len(data) > GATHERED_BYTES
            or _BARE_LF.search(data, max(0, arrival.scanned - 1)) is not None
            or (len(data) > self._longest_line and data.find(b"\r\n", 2, self._longest_line) < 0)
        )
        arrival.scanned = len(data)
        return Stage.OPEN if is_odd else Stage.PARTIAL

    def _is_probe(self, head: bytes) -> bool:
        match = _PROBE.match(head) if len(head) <= PROBE_BYTES else None
        return match is not None and match[1] in self._probe_paths


def _judge_framing(arrival: Arrival, name: bytes, value: bytes) -> Stage | None:
    """Find out what follows the head; None when the body is worth gathering."""
    name = name.lower()
    if name == b"content-length" and _LENGTH.fullmatch(value):
        arrival.needs = arrival.body_at + int(value)
        return None if arrival.needs <= GATHERED_BYTES else Stage.OPEN
    if name == b"transfer-encoding" and value.lower() == b"chunked":
        return None
    return Stage.OPEN


def _judge_chunks(arrival: Arrival) -> Stage:
    """Walk from chunk to chunk as far as they have arrived; extensions and trailers are left to gunicorn."""
    data = arrival.data
    while match := _CHUNK.match(data, arrival.scanned):
        size, start = int(match[1], 16), match.end()
        if size == 0:
            ending = data[start : start + 2]
            return Stage.WHOLE if ending == b"\r\n" else Stage.PARTIAL if b"\r\n".startswith(ending) else Stage.OPEN
        if start + size + 2 > GATHERED_BYTES:
            return Stage.OPEN
        if len(data) < start + size + 2:
            return Stage.PARTIAL
        arrival.scanned = start + size + 2
    is_odd = len(data) - arrival.scanned >= _CHUNK_LINE_BYTES or b"\n" in data[arrival.scanned :]
    return Stage.OPEN if is_odd else Stage.PARTIAL
