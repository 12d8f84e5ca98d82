"""The threads that answer requests, and the queue by which they call back the main thread.

Threads are started ahead. ``concurrent.futures`` starts a thread when there is work for it. If the system has no thread
then, the error ends the worker's loop. Here ``submit`` only puts work into a queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger("velro_auth.server.worker")

_Work = tuple[Callable[..., object], tuple[Any, ...]]


class CallbackQueue:
    """Calls for the main thread. A pipe wakes the selector in which the main thread waits."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are calls."""
        return self._reader

    def defer(self, callback: Callable[..., object], *args: Any) -> None:
        """Have the main thread call *callback*. Signal handlers may use it too."""
        self._calls.put((callback, args))
        with contextlib.suppress(BlockingIOError):  # A full pipe wakes the selector as well.
            os.write(self._writer, b"\0")

    def run(self, _: object = None) -> None:
        """Make the calls. Called by the main thread when the pipe is readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        for _ in range(self._calls.qsize()):
            callback, args = self._calls.get()
            callback(*args)


class Pool:
    """Threads that call what is submitted.

    Args:
        size: How many threads.
        start: Starts a thread.
    """

    def __init__(self, size: int, *, start: Callable[[threading.Thread], None] = threading.Thread.start) -> None:
        self._size: Final = size
        self._start = start
        self._threads: list[threading.Thread] = []
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._is_short = False

    @property
    def count(self) -> int:
        """How many threads run."""
        return len(self._threads)

    def fill(self) -> None:
        """Start the threads that are missing. Call it again later: the system may have threads again."""
        while len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name=f"pool-{len(self._threads)}", daemon=True)
            try:
                self._start(thread)
            except (RuntimeError, MemoryError) as error:
                self._warn_short(error)
                return
            self._threads.append(thread)
        if self._is_short:
            self._is_short = False
            logger.warning("all threads of the pool run again", extra={"threads": self._size})

    def _warn_short(self, error: Exception) -> None:
        if not self._is_short:
            self._is_short = True
            extra = {"threads": len(self._threads), "wanted": self._size, "error": str(error)}
            logger.error("a thread of the pool could not be started; it is tried again each second", extra=extra)

    def submit(self, work: Callable[..., object], *args: Any) -> None:
        """Have a thread call *work*."""
        self._queue.put((work, args))

    def shutdown(self, *, wait: bool = False) -> None:
        """Let the threads end when the queue is empty."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, args = item
            try:
                work(*args)
            except (Exception, SystemExit):
                logger.exception("a thread of the pool met an error")
            # Or the last request would be held until the next one comes.
            del item, work, args
