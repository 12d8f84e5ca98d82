"""An upstream whose sessions are garbled as the mail address of the login says."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.fixtures.repeating import session_of

#: What else than a session: the body, given a good one, and its content type.
KINDS: Final[Mapping[str, Callable[[bytes], tuple[bytes, str]]]] = {
    "null": lambda _: (b"null", "application/json"),
    "list": lambda body: (b"[" + body + b"]", "application/json"),
    "number": lambda _: (b"42", "application/json"),
    "text": lambda _: (b'"session"', "application/json"),
    "empty": lambda _: (b"", "application/json"),
    "object": lambda _: (b"{}", "application/json"),
    "plain": lambda body: (body, "text/plain"),
    "html": lambda body: (body, "text/html"),
    "untyped": lambda body: (body, ""),
    "refreshless": lambda body: (_without(body, "refresh_token"), "application/json"),
    "accessless": lambda body: (_without(body, "access_token"), "application/json"),
    "userless": lambda body: (_without(body, "user"), "application/json"),
    "numbers": lambda body: (json.dumps({**json.loads(body), "access_token": 1}).encode(), "application/json"),
    "blank": lambda body: (json.dumps({**json.loads(body), "refresh_token": ""}).encode(), "application/json"),
    "latin": lambda body: (body.replace(b'"token_type"', b'"\xe4"'), "application/json"),
}


def _without(body: bytes, name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(body).items() if key != name}).encode()


class Garbling(ThreadingHTTPServer):
    """Answers logins; counts the garbled ones."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.garbled = 0
        self.lock = threading.Lock()

    def body_of(self, email: str) -> bytes:
        """Return the whole session of an address."""
        return json.dumps(session_of(email)).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that end."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Garbling

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def do_GET(self) -> None:
        self._answer(b'{"keys": []}', "application/json")

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        kind, _, number = str(told["email"]).partition("@")[0].partition("-")
        body, content_type = self.server.body_of(told["email"]), "application/json"
        if kind == "cut":
            body = body[: int(number)]
        elif kind in KINDS:
            body, content_type = KINDS[kind](body)
        if kind != "good":
            with self.server.lock:
                self.server.garbled += 1
        self._answer(body, content_type)

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def garbling() -> Iterator[Garbling]:
    """Run such an upstream within the block."""
    server = Garbling()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
