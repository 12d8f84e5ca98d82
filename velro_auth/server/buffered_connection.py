"""A client's socket as gunicorn's parser and response see it: never in the way of the main thread.

The socket itself never blocks. What arrives is gathered by the worker's main thread; what is written leaves in
one piece. Only a pool thread may wait, and only until a deadline.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from typing import IO, Final

#: One read of the socket. More than any head or login that is honest.
READ_BYTES: Final = 16 * 1024
#: An answer is gathered up to this size; for more, a thread waits until the client has taken it.
GATHER_BYTES: Final = 8 * 1024 * 1024
#: How long a client may take for that, and for the rest of an answer.
SEND_TIMEOUT_S: Final = 10.0


class BufferedConnection:
    """Stands in for a socket.

    Args:
        sock: The connected socket; it is made non-blocking.
        clock: A clock that never jumps, in seconds.

    Attributes:
        inbox: What has arrived and was not read yet.
        waits_until_s: Until when ``recv`` and a full send buffer may be waited for; 0 is not at all.
        has_ended: Nothing will be read any more: the client closed its side, or the time was up.
    """

    def __init__(self, sock: socket.socket, *, clock: Callable[[], float] = time.monotonic) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._clock = clock
        self._outbox = bytearray()
        self.inbox = bytearray()
        self.waits_until_s = 0.0
        self.has_ended = False

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._sock.fileno()

    def fill(self) -> bool:
        """Take in what has arrived, without waiting; False when the client sends nothing any more."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self.inbox += data
        self.has_ended = not data
        return bool(data)

    def recv(self, size: int) -> bytes:
        """Return the next bytes; none at the end of the stream, and when the time for the request is up.

        The end rather than an error: the application gives up on the request as on a client that went away.
        """
        if not self.inbox and not self.has_ended:
            self._wait_for_more()
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        return data

    def _wait_for_more(self) -> None:
        left_s = self.waits_until_s - self._clock()
        if left_s <= 0:
            self.has_ended = True
            return
        with self._blocking(left_s):
            try:
                data = self._sock.recv(READ_BYTES)
            except TimeoutError:
                data = b""
        self.inbox += data
        self.has_ended = not data

    def sendall(self, data: bytes) -> None:
        """Keep *data* until ``flush``, so that the head and the body of an answer leave together.

        Raises:
            BrokenPipeError: There is more than is gathered, and the client does not read.
        """
        self._outbox += data
        if len(self._outbox) > GATHER_BYTES:
            self.flush()
        if len(self._outbox) > GATHER_BYTES:
            self._send_slowly()

    def send(self, data: bytes) -> int:
        """Send *data* at once: an interim answer (``100 Continue``) that the client waits for."""
        self._outbox += data
        self.flush()
        return len(data)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file after what was written before it."""
        self._send_slowly()
        with self._blocking(SEND_TIMEOUT_S):
            return self._sock.sendfile(file, offset, count)

    def flush(self) -> bool:
        """Send what was written, as far as the system takes it; False when something is left.

        Raises:
            OSError: The client is gone.
        """
        if self._outbox:
            try:
                del self._outbox[: self._sock.send(self._outbox)]
            except BlockingIOError:
                return False
        return not self._outbox

    def _send_slowly(self) -> None:
        rest, self._outbox = self._outbox, bytearray()
        try:
            if not self.waits_until_s:
                raise TimeoutError  # noqa: TRY301 - the main thread waits for nobody
            with self._blocking(SEND_TIMEOUT_S):
                self._sock.sendall(rest)
        except TimeoutError as error:
            # What gunicorn takes for a client that went away, and not for a failure of ours.
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from error

    @contextlib.contextmanager
    def _blocking(self, timeout_s: float) -> Iterator[None]:
        self._sock.settimeout(timeout_s)
        try:
            yield
        finally:
            self._sock.settimeout(0)

    def setblocking(self, _: object) -> None:
        """Ignore gunicorn's wish: who may wait is decided by ``waits_until_s``."""

    def settimeout(self, _: object) -> None:
        """Ignore gunicorn's wish, as above."""

    def gettimeout(self) -> float:
        """Say that this socket never blocks, so that gunicorn leaves its mode alone."""
        return 0.0

    def shutdown(self, _: int) -> None:
        """Refuse to be closed by gunicorn, which would wait up to 2 s for the client to close its side.

        Raises:
            OSError: Always. gunicorn then gives up closing, and the worker lingers in its selector instead.
        """
        raise OSError(errno.ENOTCONN, "left to the worker")

    def close(self) -> None:
        """Do nothing: the worker closes, see ``shutdown``."""

    def half_close(self) -> bool:
        """Tell the client that nothing more comes (FIN); False when it is gone already."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def really_close(self) -> None:
        """Close the socket."""
        self._sock.close()
