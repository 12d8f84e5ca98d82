"""Writing to a descriptor that may be a pipe, a file or a terminal, and may have no room."""

from __future__ import annotations

import itertools
import os
import select
from collections.abc import Sequence


def whole(lines: Sequence[bytes], written: int) -> int:
    """Return how many of *lines* are whole within the first *written* bytes."""
    return sum(end <= written for end in itertools.accumulate(map(len, lines)))


def write_on(fd: int, data: bytes) -> int:
    """Write some of *data*, however long it takes; return how many bytes.

    Raises:
        OSError: There is no room on the disk, or no reader.
    """
    while True:
        # Another process may have made the descriptor non-blocking for all who share it.
        try:
            return os.write(fd, data)
        except BlockingIOError:
            wait_for_room(fd, None)


def wait_for_room(fd: int, timeout_s: float | None) -> bool:
    """Wait until something can be written, for *timeout_s* at most; return whether it can."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
