"""Judges how much of a request has arrived, and whether the rest is worth waiting for, from its bytes alone.

A hint for *when* a request is handed over, never for *what* it means: gunicorn's parser reads every byte again
and has the last word on framing. Only what cannot be a request, is too large for what it asks for, or has a header
field that is too large, is refused before that.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from velro_auth import errors

#: Head and body are gathered up to this size while no thread waits for them. A head may not be larger.
GATHERED_BYTES: Final = 64 * 1024
#: A probe with a longer head is answered by the pool.
PROBE_BYTES: Final = 4 * 1024
#: Largest value of a header field, and of those that hold tokens: Supabase's have 1 to 2 KiB, but take up
#: whatever a project puts into ``app_metadata``.
FIELD_BYTES: Final = 8 * 1024
TOKEN_FIELD_BYTES: Final = 16 * 1024

#: (method, path) → largest body that the application reads there. What is missing has its body ignored.
BodyLimits = Mapping[tuple[str, str], int]

_END_OF_HEAD: Final = b"\r\n\r\n"
_PROBE: Final = re.compile(rb"(?:GET|HEAD) ([^ ?]+)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")
_LINE: Final = re.compile(rb"(?:\r\n)?([A-Z]+) (/[^ ?#\r\n]*)[^ \r\n]* HTTP/1\.([01])\r\n")
#: A method, or the beginning of one, as gunicorn takes it; an empty line may precede it (RFC 9112, 2.2).
_START: Final = re.compile(rb"(?:\r\n)?[A-Z0-9!$%&'*+.^_`|~-]{1,20}(?: |\Z)|\r?\n?\Z")
#: Headers that say what follows the head.
_FRAMING: Final = re.compile(
    rb"\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r", re.IGNORECASE
)
_LARGE_FIELD: Final = re.compile(rb"\n([^\r\n:]*):[ \t]*+([^\r\n]{%d,})" % (FIELD_BYTES + 1))
_TOKEN_FIELDS: Final = frozenset({b"authorization", b"cookie"})
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
#: Longer than any chunk's size line that ``_CHUNK`` knows.
_CHUNK_LINE_BYTES: Final = 10
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class Stage(enum.Enum):
    """How far a request has come."""

    #: More has to arrive, and no thread needs to wait for it.
    PARTIAL = enum.auto()
    #: All of it is there, and the main thread may answer it.
    PROBE = enum.auto()
    #: All of it is there.
    WHOLE = enum.auto()
    #: The head is there, and the body is not read: it is answered now, and its connection closed.
    EARLY = enum.auto()
    #: Too large to be gathered, or odd: a thread has to read on, or gunicorn has to refuse it.
    OPEN = enum.auto()
    #: Not to be answered by the application; ``Arrival.error`` says why.
    REFUSED = enum.auto()


@dataclass(slots=True)
class Arrival:
    """A request on its way in.

    Attributes:
        data: What has arrived of it, and maybe of the next one.
        scanned: How many bytes need not be looked at again.
        body_at: Where the body starts; 0 while the head is incomplete.
        needs: Size of the whole request in bytes; 0 when unknown or chunked.
        limit: Largest body that is read; None where the application does not say.
        chunked_bytes: Size of the chunks so far.
        wants_continue: The client sends the body when it is told to (``100-continue``).
        error: Why it is refused.
    """

    data: bytearray
    scanned: int = 0
    body_at: int = 0
    needs: int = 0
    limit: int | None = None
    chunked_bytes: int = 0
    wants_continue: bool = False
    error: errors.RequestError | None = None

    def refused(self, error: errors.RequestError) -> Stage:
        """Note why this request is refused."""
        self.error = error
        return Stage.REFUSED


def _unknown() -> BodyLimits | None:
    return None


class Intake:
    """Tells stages apart.

    Args:
        probe_paths: Exact paths that may be answered on the main thread.
        limit_request_line: gunicorn's limit, in bytes; a longer line is handed over to be refused.
        body_limits: Returns which requests have their body read, and how much of it; None when that is unknown.
    """

    def __init__(
        self,
        *,
        probe_paths: Collection[str],
        limit_request_line: int,
        body_limits: Callable[[], BodyLimits | None] = _unknown,
    ) -> None:
        self._probe_paths = frozenset(path.encode("latin-1") for path in probe_paths)
        # An empty line may precede it (RFC 9112, 2.2), and its end belongs to it.
        self._longest_line = limit_request_line + 4
        self._body_limits = body_limits

    def judge(self, arrival: Arrival) -> Stage:
        """Return the stage of *arrival*, looking only at what is new."""
        if not arrival.body_at:
            stage = self._judge_head(arrival)
            if stage is not None:
                return stage
        if arrival.needs:
            stage = Stage.WHOLE if len(arrival.data) >= arrival.needs else Stage.PARTIAL
        else:
            stage = _judge_chunks(arrival)
        # A body that the application does not read is not waited for.
        return Stage.EARLY if arrival.limit == 0 and stage is not Stage.WHOLE else stage

    def _judge_head(self, arrival: Arrival) -> Stage | None:
        end = arrival.data.find(_END_OF_HEAD, max(0, arrival.scanned - len(_END_OF_HEAD)))
        if (end if end >= 0 else len(arrival.data)) > GATHERED_BYTES:
            return arrival.refused(errors.HeadersTooLarge("the head is too large"))
        if end < 0:
            return self._judge_partial_head(arrival)
        head = bytes(arrival.data[: end + 2])
        arrival.body_at = arrival.scanned = end + len(_END_OF_HEAD)
        if end > FIELD_BYTES and _is_too_large(head):
            return arrival.refused(errors.HeadersTooLarge("a header field is too large"))
        framing = _FRAMING.findall(head)
        if not framing:
            return Stage.PROBE if self._is_probe(head) else Stage.WHOLE
        fields = {name.lower(): value for name, value in framing}
        is_plain = len(fields) == len(framing) and not (b"content-length" in fields and b"transfer-encoding" in fields)
        return self._judge_framing(arrival, head, fields) if is_plain else Stage.OPEN

    def _judge_partial_head(self, arrival: Arrival) -> Stage:
        data = arrival.data
        if not arrival.scanned and not _START.match(data):
            return arrival.refused(errors.RequestError("no request line"))
        is_odd = _BARE_LF.search(data, max(0, arrival.scanned - 1)) is not None or (
            len(data) > self._longest_line and data.find(b"\r\n", 2, self._longest_line) < 0
        )
        arrival.scanned = len(data)
        return Stage.OPEN if is_odd else Stage.PARTIAL

    def _judge_framing(self, arrival: Arrival, head: bytes, fields: Mapping[bytes, bytes]) -> Stage | None:
        """Find out what follows the head; None when it has to be looked at, or waited for."""
        line = _LINE.match(head)
        arrival.limit = self._limit_of(line)
        expected = fields.get(b"expect")
        if expected is not None and expected.lower() != b"100-continue":
            return Stage.OPEN
        # RFC 9110, 10.1.1: ignored in HTTP/1.0.
        arrival.wants_continue = expected is not None and line is not None and line[3] == b"1"
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            return None if coding.lower() == b"chunked" else Stage.OPEN
        length = fields.get(b"content-length", b"0")
        if not _LENGTH.fullmatch(length):
            return Stage.OPEN
        return _judge_length(arrival, int(length))

    def _limit_of(self, line: re.Match[bytes] | None) -> int | None:
        limits = self._body_limits()
        if limits is None:
            return None
        if line is None:
            # Another form of address; the application may understand it.
            return max(limits.values(), default=0)
        method, path = line[1].decode("ascii"), line[2]
        if b"%" in path:
            path = unquote_to_bytes(path)
        if len(path) > 1 and path.endswith(b"/"):
            path = path[:-1]
        return limits.get((method, path.decode("latin-1")), 0)

    def _is_probe(self, head: bytes) -> bool:
        match = _PROBE.match(head) if len(head) <= PROBE_BYTES else None
        return match is not None and match[1] in self._probe_paths


def _judge_length(arrival: Arrival, length: int) -> Stage | None:
    arrival.needs = arrival.body_at + length
    if arrival.limit and length > arrival.limit:
        return arrival.refused(errors.TooLarge("the declared length"))
    return Stage.OPEN if arrival.needs > GATHERED_BYTES and arrival.limit != 0 else None


def _is_too_large(head: bytes) -> bool:
    return any(
        name.lower() not in _TOKEN_FIELDS or len(value.rstrip(b" \t")) > TOKEN_FIELD_BYTES
        for name, value in _LARGE_FIELD.findall(head)
    )


def _judge_chunks(arrival: Arrival) -> Stage:
    """Walk from chunk to chunk as far as they have arrived; extensions and trailers are left to gunicorn."""
    data = arrival.data
    while match := _CHUNK.match(data, arrival.scanned):
        size, start = int(match[1], 16), match.end()
        if size == 0:
            ending = data[start : start + 2]
            return Stage.WHOLE if ending == b"\r\n" else Stage.PARTIAL if b"\r\n".startswith(ending) else Stage.OPEN
        if arrival.limit and arrival.chunked_bytes + size > arrival.limit:
            return arrival.refused(errors.TooLarge("the chunks"))
        if start + size + 2 > GATHERED_BYTES:
            return Stage.OPEN
        if len(data) < start + size + 2:
            return Stage.PARTIAL
        arrival.chunked_bytes += size
        arrival.scanned = start + size + 2
    is_odd = len(data) - arrival.scanned >= _CHUNK_LINE_BYTES or b"\n" in data[arrival.scanned :]
    return Stage.OPEN if is_odd else Stage.PARTIAL
