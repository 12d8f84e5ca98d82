"""Reads requests with llhttp, and refuses requests that another server could read differently.

llhttp (through ``httptools``) splits the bytes; its lenient flags stay off. This module refuses what llhttp accepts
against RFC 9112 or our limits. llhttp never gets a byte after the end of the current request.
"""

from __future__ import annotations

import enum
import io
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import httptools

from velro_auth import errors
from velro_auth.server.request_head import (
    FIELD_BYTES,
    HEAD_BYTES,
    ParserSettings,
    is_too_large,
    keeps_alive,
    key_of,
    split_target,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = logging.getLogger("velro_auth.server")

#: A probe with a longer head is answered by the thread pool.
PROBE_BYTES: Final = 4 * 1024
_END: Final = b"\r\n\r\n"
#: Replaces the parser of a request that was read to its end.
_SPENT: Final = httptools.HttpRequestParser(None)
#: Fields that a trailer may not hold (RFC 9110, 6.5.1). llhttp refuses a length and a coding.
_NO_TRAILERS: Final = frozenset({b"authorization", b"host", b"te", b"trailer"})


class Progress(enum.Enum):
    """How much of a request has been read."""

    PARTIAL = enum.auto()
    COMPLETE = enum.auto()
    #: The head is read, and the application does not read the body: answer now, then close the connection.
    BODY_IGNORED = enum.auto()
    #: The request is refused; ``RequestParser.error`` says why.
    REFUSED = enum.auto()


class RequestParser:
    """Reads one request. The methods ``on_...`` are called by llhttp.

    Args:
        settings: The values that all connections share.
        common: The part of the environment that all requests of the connection share.

    Attributes:
        progress: How much has been read.
        error: Why the request is refused.
        head: What was read of the head, for the answer to a refused request.
        environ: The WSGI environment, when the head is complete.
        body: What was read of the body.
        is_probe: The main thread may answer it.
        keeps_alive: The client wants to keep the connection.
        wants_continue: The client sends the body after a ``100 Continue``.
    """

    def __init__(self, settings: ParserSettings, common: WSGIEnvironment) -> None:
        self._settings = settings
        self._common = common
        self._llhttp = httptools.HttpRequestParser(self)
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._tail = b""
        self._missing_bytes = 0
        self._body_wire_bytes = 0
        self._limit = 0
        self.progress = Progress.PARTIAL
        self.error: errors.RequestError | None = None
        self.head = b""
        self.environ: WSGIEnvironment = {}
        self.body = bytearray()
        self.is_probe = False
        self.keeps_alive = False
        self.wants_continue = False

    def feed(self, inbox: bytearray) -> Progress:
        """Read from *inbox* up to the end of the request, and remove what was read."""
        while inbox and self.progress is Progress.PARTIAL:
            piece = bytes(inbox[: self._end_in(inbox)])
            del inbox[: len(piece)]
            self._read(piece)
        if self.progress is Progress.PARTIAL and self.environ and self._limit == 0:
            self._finish(Progress.BODY_IGNORED)
        if self.progress is not Progress.PARTIAL:
            # It holds methods of this object. Such a cycle would keep the request until a garbage collection.
            self._llhttp = _SPENT
        return self.progress

    def _end_in(self, inbox: bytearray) -> int:
        """Return how many bytes may be read at once: a request ends with its length, or with an empty line."""
        if self._missing_bytes:
            return self._missing_bytes
        found = (self._tail + inbox).find(_END)
        return found + len(_END) - len(self._tail) if found >= 0 else len(inbox)

    def _read(self, piece: bytes) -> None:
        had_head = bool(self.environ)
        if had_head:
            self._body_wire_bytes += len(piece)
        else:
            self.head += piece
        self._tail = (self._tail + piece)[-3:]
        try:
            self._llhttp.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # A server may ignore the wish to upgrade (RFC 9110, 7.8). But httptools skips the body, and its bytes would
            # be read as the next request.
            if self._missing_bytes or "HTTP_TRANSFER_ENCODING" in self.environ:
                self._refuse(errors.RequestError("an upgrade with a body"))
        except httptools.HttpParserCallbackError:
            # A defect of ours in a method below. The request is refused, and the log says why.
            logger.exception("the request parser failed")
            self._refuse(errors.RequestError("malformed request"))
        except httptools.HttpParserError:
            self._refuse(errors.RequestError("malformed request"))
        if not self.environ:
            self._check_partial_head()
        elif had_head and self._missing_bytes:
            self._missing_bytes -= len(piece)
        elif self._body_wire_bytes - len(self.body) > HEAD_BYTES:
            self._refuse(errors.TooLarge("the framing of the chunks"))
        if self.error:
            self.progress = Progress.REFUSED

    def _check_partial_head(self) -> None:
        start = 2 if self.head.startswith(b"\r\n") else 0
        line_end = self.head.find(b"\r\n", start)
        if (line_end if line_end >= 0 else len(self.head)) - start > self._settings.line_bytes + 1:
            self.error = errors.UriTooLong("the request line")
        elif len(self.head) > HEAD_BYTES:
            self.error = errors.HeadersTooLarge("the head is too large")
        elif self.head[start : start + 1] in {b"\n", b"\r"} and self.head != b"\r":
            self._refuse(errors.RequestError("more than one empty line before the request"))

    def _refuse(self, error: errors.RequestError) -> None:
        """Refuse the request, for the first reason that was found."""
        self.error = self.error or error

    def _finish(self, progress: Progress) -> None:
        self.environ["wsgi.input"] = io.BytesIO(self.body)
        self.progress = progress

    # -- called by llhttp -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second request in the bytes of the first: the two parsers disagree about its end."""
        if self.progress is Progress.COMPLETE:
            self._refuse(errors.RequestError("a second request"))

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; a field of a trailer is checked and dropped."""
        if not self.environ:
            self._fields.append((name, value))
        elif name.lower() in _NO_TRAILERS:
            self._refuse(errors.RequestError("a field that may not be in a trailer"))

    def on_headers_complete(self) -> None:
        """Check the head, and find out what follows it."""
        method, version = self._llhttp.get_method(), self._llhttp.get_http_version()
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, version.encode())
        line_at = 2 if self.head.startswith(b"\r\n") else 0
        target = split_target(method, self._url)
        self.environ = {
            **self._common,
            "REQUEST_METHOD": method.decode("ascii"),
            "SERVER_PROTOCOL": f"HTTP/{version}",
        }
        if not self.head.startswith(line, line_at) or version not in {"1.0", "1.1"} or target is None:
            # For instance more than one space, or another protocol.
            self._refuse(errors.RequestError("malformed request line"))
            return
        if len(line) - 2 > self._settings.line_bytes:
            self._refuse(errors.UriTooLong("the request line"))
            return
        path, self.environ["QUERY_STRING"] = target
        self.environ["RAW_URI"] = self._url.decode("ascii")
        self.environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
        self._add_fields()
        if version == "1.1" and "HTTP_HOST" not in self.environ:
            # RFC 9112, 3.2.
            self._refuse(errors.RequestError("no Host"))
        if self.error is None:
            self._frame(path, version)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body += data
        if self._limit and len(self.body) > self._limit:
            self._refuse(errors.TooLarge("the chunks"))

    def on_message_complete(self) -> None:
        """Hand over the request."""
        self._finish(Progress.COMPLETE)

    # -- the head ---------------------------------------------------------------------------------------------------

    def _add_fields(self) -> None:
        """Add the header fields to the environment. A name with an underscore is dropped, like gunicorn does."""
        environ, settings = self.environ, self._settings
        is_large = len(self.head) > FIELD_BYTES and any(is_too_large(name, value) for name, value in self._fields)
        if is_large or len(self.head) > HEAD_BYTES or len(self._fields) > settings.max_fields:
            self._refuse(errors.HeadersTooLarge("a header field, or their number"))
            return
        for name, value in self._fields:
            key, text = key_of(name), value.decode("latin-1").rstrip(" \t")
            if key not in environ:
                environ[key] = text
            elif key in settings.single_fields:
                self._refuse(errors.RequestError("a header field comes twice"))
            else:
                environ[key] = f"{environ[key]},{text}"
        environ.pop("", None)
        schemes = {environ[key] == value for key, value in settings.secure_schemes.items() if key in environ}
        if len(schemes) > 1:
            self._refuse(errors.RequestError("header fields name different schemes"))
        environ["wsgi.url_scheme"] = "https" if True in schemes else "http"

    def _frame(self, path: str, version: str) -> None:
        """Find out how long the body is, and whether it is read (RFC 9112, 6.3)."""
        environ = self.environ
        options = environ.get("HTTP_CONNECTION", "keep-alive" if version == "1.1" else "close").lower()
        self.keeps_alive = options == "keep-alive" or keeps_alive(options, version)
        coding, length = environ.get("HTTP_TRANSFER_ENCODING"), environ.get("CONTENT_LENGTH")
        expected = environ.get("HTTP_EXPECT")
        if expected is not None and expected.lower() != "100-continue":
            self._refuse(errors.ExpectationFailed("Expect"))
        if coding is None and length is None:
            is_read = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and len(self.head) <= PROBE_BYTES
            self.is_probe = is_read and path in self._settings.probe_paths and self._url.startswith(b"/")
            return
        method, decoded = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self._limit = self._settings.body_limit(method, decoded, is_origin_form=self._url.startswith(b"/"))
        # RFC 9110, 10.1.1: ignored in HTTP/1.0.
        self.wants_continue = expected is not None and version == "1.1" and self._limit > 0
        if coding is not None:
            self._check_coding(coding, version)
            return
        self._missing_bytes = int(length or 0)
        if self._limit and self._missing_bytes > self._limit:
            self._refuse(errors.TooLarge("the declared length"))

    def _check_coding(self, coding: str, version: str) -> None:
        if version == "1.0":
            # RFC 9112, 6.1: the framing is faulty.
            self._refuse(errors.RequestError("a transfer coding in HTTP/1.0"))
        elif coding.lower() != "chunked":
            self._refuse(errors.CodingNotImplemented("the transfer coding"))
