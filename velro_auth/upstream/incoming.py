"""Reads one answer from a socket: before one deadline, and not a byte beyond the answer's end unnoticed."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any, cast


class DeadlineReader(io.RawIOBase):
    """Reads a socket, each time with the time that is left."""

    def __init__(self, sock: socket.socket, deadline_s: float | None) -> None:
        super().__init__()
        self._sock = sock
        # Holds a reference to the socket: http.client closes its own before the body of an answer
        # without keep-alive is read.
        self._raw = cast("io.RawIOBase", sock.makefile("rb", buffering=0))
        self._deadline_s = deadline_s
        self.received_bytes = 0
        #: Set when the answer has ended: nothing is read from the socket any more.
        self.is_done = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived; nothing after the answer's end.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self.is_done:
            return 0
        if self._deadline_s is not None:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the deadline for the answer has passed")
            self._sock.settimeout(left_s)
        count = self._raw.readinto(buffer) or 0
        self.received_bytes += count
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class Incoming(io.BufferedReader):
    """What was read of an answer. Tells, when it is closed with the answer's end, whether there is more behind it."""

    def __init__(self, reader: DeadlineReader, on_leftover: Callable[[], None]) -> None:
        super().__init__(reader)
        self._reader = reader
        self._on_leftover = on_leftover

    def close(self) -> None:
        """Say whether there is more, and let go of the socket."""
        if not self.closed:
            self._reader.is_done = True
            if self.peek():
                self._on_leftover()
        super().close()


class IncomingSocket:
    """What ``http.client.HTTPResponse`` takes for a socket: something that makes a file."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what reads the answer."""
        assert mode == "rb"
        return self._incoming
