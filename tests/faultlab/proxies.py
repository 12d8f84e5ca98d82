"""A TCP proxy that loses, delays and cuts connections on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field


@dataclass
class _Pair:
    ours: socket.socket
    theirs: socket.socket
    is_lost: bool = False


@dataclass
class TcpProxy:
    """Passes connections on to a port of this machine.

    Attributes:
        target: The port, which may change; 0 refuses connections.
        delay_s: How much later every piece is passed on.
        lost: Connections whose bytes are dropped, as after a cable was cut: neither side is told.
        cut: Connections that were reset.
        connected: Connections that were taken.
    """

    target: int
    delay_s: float = 0.0
    lost: int = 0
    cut: int = 0
    connected: int = 0
    _pairs: list[_Pair] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self) -> int:
        """Drop whatever is sent on the open connections from now on; return how many there are."""
        with self._lock:
            for pair in self._pairs:
                pair.is_lost = True
            self.lost += len(self._pairs)
            return len(self._pairs)

    def reset(self) -> int:
        """Reset all open connections; return how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(pair)
        self.cut += len(pairs)
        return len(pairs)

    def close(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                self.connected += 1
                try:
                    theirs = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                except OSError:
                    ours.close()
                    continue
                theirs.settimeout(None)
                pair = _Pair(ours, theirs)
                for one in (ours, theirs):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append(pair)
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._carry, args=(pair, source, sink), daemon=True).start()

    def _carry(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if not pair.is_lost:
                    sink.sendall(piece)
            if pair.is_lost:
                return
            sink.shutdown(socket.SHUT_WR)
            if source is pair.ours:
                return
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        if not pair.is_lost:
            for one in (pair.ours, pair.theirs):
                # Wakes the other thread, which would keep the connection open.
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def _end(pair: _Pair) -> None:
    for one in (pair.ours, pair.theirs):
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Wakes the thread that reads; the linger makes the close a reset.
            one.shutdown(socket.SHUT_RD)
        one.close()


class Resetting:
    """A server that resets each connection once something was sent on it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with contextlib.suppress(OSError):
                    hello = connection.recv(65536)
                    # The first byte of a handshake; anything else would be a request in the clear.
                    if hello[:1] != b"\x16":
                        self.requests.append(hello)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
