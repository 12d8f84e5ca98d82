"""Reads the requests of which nothing has to be judged; any other is left to gunicorn's parser.

Parsing is the dearest part of a small request: gunicorn's parser knows every way a head can be wrong, and takes 80 µs
for the 16 fields that an edge sends. A head of letters, digits and printable ASCII, without a repeated field, without
folding, escapes or hop-by-hop wishes, can be read in one way only, and in a tenth of the time. What is the least bit
odd is *not refused here*: gunicorn reads it and has the last word. ``tests/unit/server/test_plain_parser.py`` compares
the two for heads of all kinds.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from gunicorn.http import wsgi

from velro_auth.server.framing import Arrival
from velro_auth.server.refusals import LOOKED_AT_BYTES

#: Longer heads are gunicorn's. Less than its limit for a single field, so none can be too long.
HEAD_BYTES: Final = 8000

#: Possessive quantifiers: a head that does not match costs one look at each byte.
_HEAD: Final = re.compile(
    rb"(GET|HEAD|POST) (/[A-Za-z0-9/._~-]*+)(?:\?([A-Za-z0-9=&,._~+-]*+))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]++:[\t\x20-\x7e]*+\r\n)++)\r\n"
)
_LENGTH: Final = re.compile(r"[0-9]{1,9}")

#: What WSGI calls by other names than ``HTTP_...``.
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
#: Fields that change how the connection, or what follows the head, has to be read.
_GUNICORNS: Final = frozenset(
    {"HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE", "HTTP_TRAILER", "HTTP_HTTP2_SETTINGS"}
)


class PlainRequest:
    """What gunicorn's response and error page want to know of a request."""

    __slots__ = ("body", "environ", "method", "path", "query", "scheme", "uri")

    version = (1, 1)
    #: gunicorn's: neither was asked for.
    proxy_protocol_info = None
    _expected_100_continue = False

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path: str = environ["PATH_INFO"]
        self.query: str = environ["QUERY_STRING"]
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body: io.BytesIO = environ["wsgi.input"]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields, as gunicorn's parser would list them."""
        return [
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in self.environ.items()
            if key in _UNPREFIXED or key.startswith("HTTP_")
        ]

    def should_close(self) -> bool:
        """Say no: a head that asks for it is not plain."""
        return False


class Reader:
    """Reads plain requests.

    Args:
        cfg: gunicorn's settings.
        paths: What may be read here; the application names the paths where time matters.
    """

    def __init__(self, cfg: Any, paths: Collection[str]) -> None:
        self._paths = frozenset(path.encode("latin-1") for path in paths) if _is_usual(cfg) else frozenset()
        self._longest_line: int = cfg.limit_request_line
        self._most_fields: int = cfg.limit_request_fields
        self._secure: dict[str, str] = {_key_of(name): says for name, says in cfg.secure_scheme_headers.items()}
        self._base = {
            **wsgi.base_environ(cfg),
            "wsgi.multithread": True,
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }

    def read(self, arrival: Arrival, client: Any, server: Any) -> PlainRequest | None:
        """Take the request out of *arrival* and return it; None, and nothing is taken, when it is not plain."""
        data, end = arrival.data, arrival.body_at
        if not 0 < end <= HEAD_BYTES or not isinstance(client, tuple) or not isinstance(server, tuple):
            return None
        match = _HEAD.fullmatch(data, 0, end)
        if match is None or match[2] not in self._paths or match.start(4) - 2 > self._longest_line:
            return None
        method, path, query, fields = (part.decode("ascii") if part else "" for part in match.groups())
        environ: dict[str, Any] = {
            **self._base,
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "RAW_URI": f"{path}?{query}" if match[3] is not None else path,
            "REMOTE_ADDR": client[0],
            "REMOTE_PORT": str(client[1]),
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
        }
        if not self._take(fields, environ) or not _has_body_of(arrival, environ):
            return None
        end = arrival.needs or end
        environ["wsgi.input"] = io.BytesIO(data[arrival.body_at : end])
        del data[:end]
        return PlainRequest(environ)

    def _take(self, fields: str, environ: dict[str, Any]) -> bool:
        """Put the fields into *environ*; False when one of them is not plain."""
        lines = fields.split("\r\n")[:-1]
        for line in lines:
            name, _, value = line.partition(":")
            key = _key_of(name)
            if key in environ:
                return False
            environ[key] = value.strip(" \t")
        schemes = [environ[key] == says for key, says in self._secure.items() if key in environ]
        environ["wsgi.url_scheme"] = "https" if any(schemes) else "http"
        return (
            len(schemes) <= 1
            and len(lines) <= self._most_fields
            and environ.get("HTTP_CONNECTION", "keep-alive").lower() == "keep-alive"
            and environ.keys().isdisjoint(_GUNICORNS)
        )


@functools.lru_cache(maxsize=512)
def _key_of(name: str) -> str:
    """Return what the field *name* is called in the environment."""
    key = name.upper().replace("-", "_")
    return key if key in _UNPREFIXED else "HTTP_" + key


def _has_body_of(arrival: Arrival, environ: Mapping[str, Any]) -> bool:
    """Tell whether the field says of the body what the worker's intake has counted."""
    length = environ.get("CONTENT_LENGTH")
    if length is None:
        return not arrival.needs
    return _LENGTH.fullmatch(length) is not None and arrival.needs == arrival.body_at + int(length) <= len(arrival.data)


def _is_usual(cfg: Any) -> bool:
    """Tell whether gunicorn was told to read requests as this module does."""
    return (
        "*" in cfg.forwarded_allow_ips
        and not os.environ.get("SCRIPT_NAME")  # noqa: TID251 - gunicorn's own switch, read where gunicorn reads it
        and not cfg.is_ssl
        and not cfg.strip_header_spaces
        and cfg.limit_request_field_size > HEAD_BYTES
        and cfg.limit_request_line > 0
        and cfg.limit_request_fields > 0
    )


class Parser:
    """A connection's parser: plain requests are read here, the others by gunicorn's.

    Args:
        theirs: gunicorn's parser of this connection.
        reader: Reads plain requests.
        client: The peer's address.
        server: Our own.
        inbox: What has arrived.
    """

    def __init__(self, theirs: Any, reader: Reader, client: Any, server: Any, inbox: bytearray) -> None:
        self._theirs = theirs
        self._inbox = inbox
        self._reader = reader
        self._client = client
        self._server = server
        self._was_plain = False
        #: What is known of the request that has arrived; None when it is not all there.
        self.arrival: Arrival | None = None
        #: The start of the request that gunicorn's parser was given last, for the answer when it is refused.
        self.head = b""

    @property
    def unreader(self) -> Any:
        """The buffer of gunicorn's parser."""
        return self._theirs.unreader

    def __next__(self) -> Any:
        """Return the next request."""
        plain = self._reader.read(self.arrival, self._client, self._server) if self.arrival else None
        self._was_plain = plain is not None
        if plain is not None:
            return plain
        self.head = bytes(self._inbox[:LOOKED_AT_BYTES])
        return next(self._theirs)

    def finish_body(self, deadline: float | None = None) -> bool:
        """Read what the application left of a body; False when that takes too long."""
        return self._was_plain or bool(self._theirs.finish_body(deadline=deadline))
