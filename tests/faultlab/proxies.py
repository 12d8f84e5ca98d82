"""Proxies that lose, delay and cut connections on demand, and a pipe that nobody reads on demand."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Pair:
    ours: socket.socket
    theirs: socket.socket
    is_lost: bool = False


@dataclass
class TcpProxy:
    """Passes connections on to a port of this machine.

    Attributes:
        target: The port, or the path of a unix socket; may change.
        delay_s: How much later every piece is passed on.
        lost: Connections whose bytes are dropped, as after a cable was cut: neither side is told.
        cut: Connections that were reset.
        connected: Connections that were taken.
    """

    target: int | str
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
                    theirs = _connect(self.target)
                except OSError:
                    ours.close()
                    continue
                pair = _Pair(ours, theirs)
                ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def _connect(target: int | str) -> socket.socket:
    if isinstance(target, str):
        made = socket.socket(socket.AF_UNIX)
        made.connect(target)
        return made
    made = socket.create_connection(("127.0.0.1", target), timeout=5)
    made.settimeout(None)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


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


class Pipe:
    """Copies what is written to a named pipe into a file, except while it is paused.

    Attributes:
        copy: The file.
        waited_bytes: The most bytes that waited in the pipe.
        was_full: Whether it took nothing more when it was read again. How many bytes that are depends on the size of
            the pieces: each takes a page.
    """

    def __init__(self, fifo: Path, copy: Path) -> None:
        self.copy = copy
        self.waited_bytes, self.was_full = 0, False
        # Both ways, so that opening never waits and the pipe never ends.
        self._fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._reads, self._is_closed = threading.Event(), False
        self._reads.set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Read nothing from now on."""
        self._reads.clear()

    def resume(self) -> None:
        """Read again."""
        self._note()
        self._reads.set()

    def close(self) -> None:
        """Stop."""
        self._is_closed = True
        self._reads.set()
        self._thread.join()
        os.close(self._fd)

    def _note(self) -> None:
        waiting = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, waiting)
        self.waited_bytes = max(self.waited_bytes, waiting[0])
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        self.was_full = self.was_full or not poll.poll(0)

    def _work(self) -> None:
        with self.copy.open("ab", buffering=0) as file:
            while not self._is_closed:
                self._reads.wait()
                with contextlib.suppress(BlockingIOError):
                    while self._reads.is_set() and (piece := os.read(self._fd, 65536)):
                        file.write(piece)
                time.sleep(0.01)
