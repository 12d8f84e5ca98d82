"""Generated heads and bodies, for the parser of requests."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from tests.faultlab import raw
from tests.faultlab.inputs.part import Part, Wrong
from tests.fixtures.garbled import GARBLED
from velro_auth.errors import RequestError
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import Progress, RequestParser

LOGIN: Final = "/api/v1/auth/login"
#: A peer of a private network, and our own address.
PEERS: Final = ("::ffff:100.64.0.5", 40000, 0, 0), ("::", 8000, 0, 0)
SERVER: Final = SimpleNamespace(
    limit_request_line=4094,
    limit_request_fields=64,
    secure_scheme_headers={"X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
    workers=1,
)
_INNER: Final = b"GET /health HTTP/1.1\r\nHost: inner\r\n\r\n"
_PIECES: Final = (
    *(bytes([code]) for code in b"\r\n\0 \t:_;,\xff\x7f"),
    *(b"\r\n", b"\r\n\r\n", b"HTTP/1.0", b"HTTP/2.0", b"0\r\n\r\n", b"3\r\nabc\r\n", b"\r\n 0", b"%0d%0a", _INNER),
    *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content_Length: 9\r\n", b"ffffffffffffffff\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Trailer: a\r\n"),
    *(b"Expect: 100-continue\r\n", b"Host: b\r\n", b"X: " + b"x" * 9000 + b"\r\n"),
)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE: Final = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?")


class Cut(NamedTuple):
    """Bytes of a connection, and where they are cut; *is_good* for one well-formed request."""

    data: bytes
    cuts: tuple[int, ...]
    is_good: bool


class Requests(Part):
    """One input is never two requests, and is read alike however it is cut; what it is was found out independently."""

    name = "request parser"
    share = 450
    parsers = ((RequestParser, "feed"),)
    wanted = frozenset({"complete", "body_ignored", "partial", "RequestError"})

    def __init__(self) -> None:
        limits = {("POST", LOGIN): 64, ("PUT", "/factors/<factor_id>"): 8192}
        self._settings = ParserSettings(SERVER, ["/health"], lambda: limits)
        named = (*raw.SMUGGLING.values(), *GARBLED.values())
        self._small = [data for data in named if len(data) < 4096]
        self._large = [data for data in named if len(data) >= 4096]

    def make(self, chance: random.Random) -> Cut:
        """Return a good request, or damage one or a named attack, perhaps with a second request behind."""
        data = _request(chance)
        is_good = chance.random() < 0.1
        if not is_good:
            if chance.random() < 0.2:
                data = chance.choice(self._large if chance.random() < 0.02 else self._small)
            if chance.random() < 0.9:
                data = _damaged(chance, data)
            data += chance.choice((b"", b"", b"", _INNER, b"x"))
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((1, 2, 3, 12))))
        return Cut(data, tuple(cuts), is_good)

    def judge(self, given: Cut) -> str:
        """Read it whole and in pieces."""
        whole, used = self._fed(given.data, ())
        pieces, used_of_pieces = self._fed(given.data, given.cuts)
        if Progress.BODY_IGNORED in {whole.progress, pieces.progress}:
            # How much of such a body is looked at depends on what has arrived. The connection is closed behind it.
            for parser, its_used in ((whole, used), (pieces, used_of_pieces)):
                if parser.progress is not Progress.REFUSED:
                    self._compare(given.data, parser, its_used)
            return "body_ignored"
        verdict = type(whole.error).__name__ if whole.error else whole.progress.name.lower()
        # For which of several reasons a request is refused depends on what arrives first.
        if whole.progress is not pieces.progress:
            raise Wrong(f"{verdict}, and when it is cut {pieces.progress.name.lower()}")
        if whole.progress is Progress.COMPLETE:
            if (used, whole.body, _plain(whole)) != (used_of_pieces, pieces.body, _plain(pieces)):
                raise Wrong("another request when it is cut")
            self._compare(given.data, whole, used)
        elif given.is_good or not (whole.error is None or isinstance(whole.error, RequestError)):
            raise Wrong(f"a good request is {verdict}: {whole.error!r}")
        return verdict

    def _fed(self, data: bytes, cuts: Sequence[int]) -> tuple[RequestParser, int]:
        """Return the parser that has read *data* in these pieces, and how much of it."""
        parser, inbox = RequestParser(self._settings, self._settings.environ_of(*PEERS)), bytearray()
        for start, end in itertools.pairwise((0, *cuts, len(data))):
            inbox += data[start:end]
            if parser.feed(inbox) is not Progress.PARTIAL:
                return parser, end - len(inbox)
        return parser, len(data)

    @staticmethod
    def _compare(data: bytes, parser: RequestParser, used: int) -> None:
        """Compare what was accepted with what RFC 9112 says."""
        read = framed(data)
        if read is None:
            raise Wrong("accepted, and RFC 9112 allows no or several readings")
        head_end, end, body = read
        if parser.progress is Progress.BODY_IGNORED:
            if not head_end <= used <= len(data) or (used > end >= 0):
                raise Wrong("more than a request is taken for one")
        elif used != end or bytes(parser.body) != body:
            raise Wrong("one request is read as two, or two as one, or with another body")


def _plain(parser: RequestParser) -> dict[str, Any]:
    return {name: value for name, value in parser.environ.items() if name not in {"wsgi.input", "wsgi.errors"}}


def framed(data: bytes) -> tuple[int, int, bytes] | None:
    """Return where the head and the whole request end, and the body; None where RFC 9112 gives no single answer."""
    start = 2 if data.startswith(b"\r\n") else 0
    head_end = data.find(b"\r\n\r\n", start)
    lines = data[start:head_end].split(b"\r\n")
    fields = [line.partition(b":") for line in lines[1:]]
    if head_end < 0 or not _LINE.fullmatch(lines[0]) or re.search(rb"[\r\n\0]", b"".join(lines)):
        return None
    if not all(colon and _NAME.fullmatch(name) for name, colon, _ in fields):
        return None
    named = {b"content-length", b"transfer-encoding"}
    framing = [(name.lower(), value.strip(b" \t").lower()) for name, _, value in fields if name.lower() in named]
    at = head_end + 4
    if not framing:
        return at, at, b""
    ((name, value),) = framing if len(framing) == 1 else [(b"", b"")]
    if name == b"content-length" and re.fullmatch(rb"[0-9]{1,18}", value):
        return at, at + int(value), data[at : at + int(value)]
    return _unchunked(data, at) if (name, value) == (b"transfer-encoding", b"chunked") else None


def _unchunked(data: bytes, head_end: int) -> tuple[int, int, bytes] | None:
    """Read chunks. For a body that is not read, which is None for a malformed one, its head alone counts."""
    at, body = head_end, b""
    while size := _CHUNK.fullmatch(data[at : max(at, data.find(b"\r\n", at))]):
        at = size.end() + at + 2
        if not (length := int(size[1], 16)):
            # The trailer ends with an empty line.
            ends = at - 2 if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", at)
            return head_end, ends + 4 if ends >= 0 else -1, body
        body, at = body + data[at : at + length], at + length + 2
    return head_end, -1, b""


def _request(chance: random.Random) -> bytes:
    method = chance.choice(("GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
    path = chance.choice((LOGIN, LOGIN, "/health", "/factors/1?a=b", "/a%20b;c", "*" if method == "OPTIONS" else "/"))
    names = chance.sample(("Accept", "X-Real-IP", "User-Agent", "Cookie", "Authorization"), chance.randrange(5))
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *(f"{name}: {chance.random()} a=b;" for name in names)]
    body = bytes(chance.choices(b'{}":,a1\r\n\xc3\x00', k=chance.randrange(40)))
    framing = chance.randrange(3)
    if framing == 1:
        lines.append(f"Content-Length: {len(body)}")
    elif framing == 2:
        lines.append("Transfer-Encoding: chunked")
        half = chance.randrange(len(body) + 1)
        pieces = [piece for piece in (body[:half], body[half:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body if framing else b"")


def _damaged(chance: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(made) + 1)
        piece = chance.choice(_PIECES[:-1] if chance.random() < 0.97 else _PIECES)
        made[at : at + chance.choice((0, 0, 1, 1, 2, 9))] = chance.choice((piece, bytes([chance.randrange(256)]), b""))
    return bytes(made)
