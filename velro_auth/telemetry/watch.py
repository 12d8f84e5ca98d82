"""The watch: every few seconds one thread of each worker looks after what no request should wait for."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence

logger = logging.getLogger("velro_auth.telemetry")


class Watch:
    """Calls its jobs again and again, from a thread of its own.

    The thread starts with the first request of a process, so there is none in gunicorn's master, and ends with
    this object. A job that fails is logged and called again the next time.

    Args:
        jobs: What is to be done; none may block for long.
        every_s: How often.
    """

    def __init__(self, jobs: Sequence[Callable[[], None]], *, every_s: float = 5.0) -> None:
        self._jobs = tuple(jobs)
        self._every_s = every_s
        self._pid = 0
        self._stopped = threading.Event()
        weakref.finalize(self, self._stopped.set)

    def ensure(self) -> None:
        """Start the thread of this process unless it runs; costs next to nothing if it does."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._stopped, self._every_s), name="watch", daemon=True
            )
            thread.start()

    def look(self) -> None:
        """Call every job once."""
        for job in self._jobs:
            try:
                job()
            except Exception:
                logger.exception("a job of the watch failed")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()


def _run(watch: weakref.ref[Watch], stopped: threading.Event, every_s: float) -> None:
    # Holds no watch while it waits, so that nobody's watch outlives its owner.
    while not stopped.wait(every_s):
        if (alive := watch()) is not None:
            alive.look()
            del alive
