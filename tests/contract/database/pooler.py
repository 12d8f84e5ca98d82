"""A transaction pooler in front of a server: each transaction may land on another backend.

It speaks just enough of PostgreSQL's protocol to do to a client what Supabase's pooler on port 6543 does.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

SSL_REQUEST = 80877103
PARAMETERS = {"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}


@dataclass
class Pooler:
    """Two backends that take turns, and a listening socket.

    Attributes:
        backends: Sockets of connections that are logged in already.
        listener: Where clients come in.
    """

    backends: list[socket.socket]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.listener.getsockname()[1]} user=postgres dbname=pooled"

    def serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client, suppress(EOFError):
                    self._greet(client)
                    self._pass_on(client)

    def _greet(self, client: socket.socket) -> None:
        length, code = struct.unpack("!ii", exactly(client, 8))
        if code == SSL_REQUEST:
            client.sendall(b"N")
            length, code = struct.unpack("!ii", exactly(client, 8))
        exactly(client, length - 8)
        client.sendall(message(b"R", struct.pack("!i", 0)))
        for name, value in PARAMETERS.items():
            client.sendall(message(b"S", f"{name}\0{value}\0".encode()))
        client.sendall(message(b"K", struct.pack("!ii", 1, 1)) + message(b"Z", b"I"))

    def _pass_on(self, client: socket.socket) -> None:
        while True:
            self.backends.append(self.backends.pop(0))
            status = b"T"
            while status != b"I":
                kind, body = received(client)
                if kind == b"X":
                    return
                self.backends[0].sendall(message(kind, body))
                if kind in (b"Q", b"S"):
                    status = answer(self.backends[0], client)


def answer(backend: socket.socket, client: socket.socket) -> bytes:
    """Pass the answer on and return the state of the transaction that ends it."""
    while True:
        kind, body = received(backend)
        client.sendall(message(kind, body))
        if kind == b"Z":
            return body


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def received(peer: socket.socket) -> tuple[bytes, bytes]:
    kind = exactly(peer, 1)
    (length,) = struct.unpack("!i", exactly(peer, 4))
    return kind, exactly(peer, length - 4)


def exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := peer.recv(count - len(data))):
            raise EOFError
        data += more
    return data


@contextmanager
def pooled(dsn: str) -> Iterator[str]:
    """Put a pooler in front of *dsn* and yield its address."""
    connections: list[psycopg.Connection[Any]] = [psycopg.connect(dsn, autocommit=True) for _ in range(2)]
    backends = [socket.socket(fileno=os.dup(connection.fileno())) for connection in connections]
    for backend in backends:
        backend.setblocking(True)
    pooler = Pooler(backends)
    thread = threading.Thread(target=pooler.serve)
    thread.start()
    try:
        yield pooler.dsn
    finally:
        pooler.listener.shutdown(socket.SHUT_RDWR)
        pooler.listener.close()
        thread.join()
        for backend, connection in zip(backends, connections, strict=True):
            backend.close()
            connection.close()
