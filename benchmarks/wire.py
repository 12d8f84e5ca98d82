"""HTTP as bytes: requests as they come from an edge, and a client that does no more than it must."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_END: Final = b"\r\n\r\n"

#: What a platform's edge adds to a browser's request: 16 headers with ``Host``, as measured behind one.
_EDGE: Final = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: application/json, text/plain, */*\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Origin: https://app.example.com\r\n"
    "Referer: https://app.example.com/\r\n"
    "Sec-Fetch-Dest: empty\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Sec-Fetch-Site: cross-site\r\n"
    "X-Forwarded-For: 203.0.113.7\r\n"
    "X-Forwarded-Host: auth.example.com\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Railway-Edge: railway/europe-west4-drams3a\r\n"
    "X-Railway-Request-Id: Jm3tHdzGSTaBRw0KQHVtXA\r\n"
)

LOGIN_PATH: Final = "/api/v1/auth/login"
TOKEN_PATH: Final = "/auth/v1/token?grant_type=password"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and what a right answer has in it.

    Attributes:
        request: The bytes to send.
        proof: Found in the body of an answer that belongs to this request.
        status: The status of a success.
    """

    request: bytes
    proof: bytes
    status: int = 200

    def is_answered_by(self, status: int, body: bytes) -> bool:
        """Tell whether this is the right answer."""
        return status == self.status and self.proof in body


def get(path: str, *, token: str = "", key: str = "", number: int | None = None) -> Question:
    """Return a GET as an edge sends it; of user *number*, if one is given."""
    own = _own(token, key) + ("" if number is None else _address(number))
    return Question(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_EDGE}{own}\r\n".encode(), b"")


def login(number: int, *, path: str = LOGIN_PATH, key: str = "") -> Question:
    """Return the login of user *number*."""
    email = f"user{number}@example.com"
    body = {"email": email, "password": "correct horse battery staple"}
    return Question(post(path, body, number, key=key), f"rt-{email}".encode())


def _own(token: str, key: str) -> str:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return bearer + (f"apikey: {key}\r\n" if key else "")


def _address(number: int) -> str:
    """Return the header with the address of user *number* (RFC 2544's benchmark network)."""
    return f"X-Real-IP: 198.{18 + number // 65536 % 2}.{number % 256}.{number // 256 % 256}\r\n"


def post(path: str, body: Mapping[str, str], number: int, *, token: str = "", key: str = "") -> bytes:
    """Return a POST of user *number*, who has an address of their own."""
    content = json.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_EDGE}{_own(token, key)}{_address(number)}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return (head + content).encode()


class Reading:
    """Puts one answer together from the pieces it comes in."""

    __slots__ = ("_data", "_needed")

    def __init__(self) -> None:
        self._data = b""
        self._needed = 0

    def feed(self, piece: bytes) -> tuple[int, bytes] | None:
        """Return status and body once all of it is there."""
        self._data += piece
        if not self._needed:
            end = self._data.find(_END)
            if end < 0:
                return None
            head = self._data[:end].lower()
            place = head.find(b"content-length:")
            if place < 0:
                raise ConnectionError("an answer without a length")
            self._needed = end + len(_END) + int(head[place + 15 :].split(b"\r", 1)[0])
        if len(self._data) < self._needed:
            return None
        return int(self._data[9:12]), self._data[self._data.find(_END) + len(_END) :]


class Line:
    """One kept connection, for one thread at a time.

    Args:
        port: Where on this machine.
        timeout_s: How long one answer may take.
    """

    def __init__(self, port: int, *, timeout_s: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return status and body of the answer.

        Raises:
            OSError: There is none, or none in time.
        """
        self._socket.sendall(request)
        reading = Reading()
        while (answer := reading.feed(self._read())) is None:
            pass
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionResetError("closed before the answer was complete")
        return piece
