"""Requests that ask to take over a connection, as browsers and as attackers send them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

#: What Chromium 156 sends with a websocket, beside host, origin and cookie.
WEBSOCKET = {
    "Connection": "Upgrade",
    "Pragma": "no-cache",
    "Cache-Control": "no-cache",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-US,en;q=0.9",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
}
#: What goes with a wish for HTTP/2.
HTTP2 = {"Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
#: The values of one or more fields ``Upgrade`` with another protocol than a websocket.
UPGRADES = [
    ("h2c",),
    ("TLS/1.2",),
    ("websocket, h2c",),
    ("h2c", "websocket"),
    ("websocket", "h2c"),
    ("TLS/1.2", "websocket"),
]


def upgraded(port: int, path: str, fields: Mapping[str, str], protocols: Sequence[str] = ()) -> tuple[int, str]:
    """Send a GET with *fields*, and a field ``Upgrade`` for each of *protocols*.

    Returns:
        The status, and the protocol that the connection is to speak from now on.
    """
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in fields.items())]
    lines += [f"Upgrade: {protocol}" for protocol in protocols]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as answer:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        status = int(answer.readline().split(b" ")[1])
        head = [line.decode("latin-1").strip().partition(": ") for line in iter(answer.readline, b"\r\n")]
    found = {name.lower(): value for name, _, value in head}
    return status, found.get("upgrade", "") if status == 101 else ""
