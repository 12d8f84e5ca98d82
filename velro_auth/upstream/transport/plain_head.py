"""Reads the heads of answers of which nothing has to be judged; any other is left to ``http.client``.

``http.client`` has a head parsed as the head of a mail, which takes 53 µs for twenty fields. A head of tabs and
printable ASCII, without folding, that says in one way only how long its body is, takes 16. What is the least bit odd
is *not refused here*: nothing of it is taken, and ``http.client`` reads it and has the last word.
``tests/unit/upstream/test_plain_head.py`` compares the two for heads of all kinds.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

#: Possessive quantifiers: a head that does not match costs one look at each byte.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) ([\x20-\x7e]*+)\r\n"
    rb"((?:[A-Za-z0-9_-]++:[\t\x20-\x7e]*+\r\n)++)\r\n"
)
_LENGTH: Final = re.compile(r"[0-9]{1,9}")

#: ``http.client`` takes a hundred lines.
_MOST_FIELDS: Final = 90
#: No body, whatever the head says (RFC 9112, 6.3).
_BODILESS: Final = frozenset({204, 304})
#: Fields that say how the body has to be read, or whether the connection goes on; and the one that a parser of mail
#: looks for parts in.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "content-type"})
#: 1xx, but for the one after which the connection speaks another protocol.
_INTERIM: Final = 100
_SWITCHING: Final = 101
_FINAL: Final = 200
_MOST_INTERIM: Final = 16
_WHOLE: Final = ("application/", "text/")

Fields: TypeAlias = list[tuple[str, str]]


class PlainResponse(http.client.HTTPResponse):
    """An answer, quicker read where its head is plain."""

    _method: str | None

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.HTTPException: It is none.
            OSError: It cannot be read.
        """
        if not self._take_plain(self.fp.peek()):
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        """Return the first status line that is final; ``http.client`` knows of no interim answer but 100.

        103 (RFC 8297) and 102 come before the answer, as many as the server likes (RFC 9110, 15.2).

        Raises:
            http.client.HTTPException: There are too many of them, or what comes is no answer.
            OSError: It cannot be read.
        """
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc] # unknown to typeshed
            if status == _SWITCHING:
                raise http.client.UnknownProtocol("101 Switching Protocols")
            if not _INTERIM <= status < _FINAL:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("interim answers without an end")

    def _take_plain(self, data: bytes) -> bool:
        """Take the head out of *data*, which is the start of what arrived; False when it is not plain."""
        match = _HEAD.match(data)
        if match is None or self._method == "HEAD":
            return False
        status, fields = int(match[1]), _fields(match[3].decode("ascii"))
        framing = _framing(fields)
        if framing is None or status in _BODILESS or len(fields) > _MOST_FIELDS:
            return False
        self.fp.read(match.end())
        self.code = self.status = status
        self.reason = match[2].decode("ascii").strip()
        self.version = 11
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in fields:
            self.headers.set_raw(name, value)
        self.headers.set_payload("")
        self.will_close = False
        self.length = int(framing["content-length"]) if "content-length" in framing else None
        self.chunked = self.length is None
        if self.chunked:
            self.chunk_left = None
        return True


def _fields(lines: str) -> Fields:
    return [
        (name, value.lstrip(" \t")) for name, _, value in [line.partition(":") for line in lines.split("\r\n")[:-1]]
    ]


def _framing(fields: Fields) -> Mapping[str, str] | None:
    """Return the fields that frame the body, by small names; None when they do not say one thing and say it once."""
    framing: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        if key in _FRAMING:
            if key in framing:
                return None
            framing[key] = value
    if framing.get("connection", "keep-alive") != "keep-alive":
        return None
    if not framing.get("content-type", "text/plain").startswith(_WHOLE):
        return None
    length, coding = framing.get("content-length"), framing.get("transfer-encoding")
    if coding is None and length is not None and _LENGTH.fullmatch(length):
        return framing
    return framing if coding == "chunked" and length is None else None
