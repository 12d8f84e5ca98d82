"""The threads in which a worker answers: started ahead, and started again where one could not be.

``concurrent.futures`` starts a thread when there is work for it. Where the system gives none at that moment, the
error ends the loop that handed the work over, and with it the worker. Here work is only put into a queue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger("velro_auth.server.worker")

_Work = tuple[Callable[..., object], tuple[Any, ...]]


class Pool:
    """Threads that do what they are given.

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
        """Start the threads that are missing. Call it again later: a system without threads to give gets some back."""
        while len(self._threads) < self._size:
            thread = threading.Thread(target=self._run, name=f"pool-{len(self._threads)}", daemon=True)
            try:
                self._start(thread)
            except (RuntimeError, MemoryError) as error:
                self._say_short(error)
                return
            self._threads.append(thread)
        if self._is_short:
            self._is_short = False
            logger.warning("all threads of the pool run again", extra={"threads": self._size})

    def _say_short(self, error: Exception) -> None:
        if not self._is_short:
            self._is_short = True
            extra = {"threads": len(self._threads), "wanted": self._size, "error": str(error)}
            logger.error("a thread of the pool could not be started; it is tried again each second", extra=extra)

    def submit(self, work: Callable[..., object], *args: Any) -> None:
        """Have a thread call *work*."""
        self._queue.put((work, args))

    def shutdown(self, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn calls it as an executor's
        """Let the threads end when the queue is empty.

        Args:
            wait: Wait for them.
        """
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
