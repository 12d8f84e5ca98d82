"""Waits for the signal that ends this process, whenever it comes and whichever thread gets it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

_ENDS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


@contextlib.contextmanager
def awaiting_stop() -> Iterator[Callable[[], None]]:
    """Note SIGTERM and SIGINT from now on, and yield a function that returns as soon as one has come.

    The interpreter writes a byte into a socket in the moment a signal arrives, and the main thread reads it. A lock is
    no substitute: a signal that arrives just before the main thread starts to wait for a lock does not wake it, and
    a handler that sets a ``threading.Event`` can wait for a lock that the main thread holds itself.
    """
    reader, writer = socket.socketpair()
    os.set_blocking(writer.fileno(), False)
    before = {number: signal.signal(number, lambda *_: None) for number in _ENDS}
    wakeup_before = signal.set_wakeup_fd(writer.fileno())

    def wait() -> None:
        # Each byte is the number of a signal; others than ours may come.
        while _ENDS.isdisjoint(reader.recv(64)):
            pass

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
