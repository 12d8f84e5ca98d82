"""The watch: every few seconds one thread of each worker looks after what no request should wait for."""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

from velro_auth.background import Background

logger = logging.getLogger("velro_auth.telemetry")


class Retried(Protocol):
    """Something whose start may have failed for want of a thread."""

    def retry(self) -> None:
        """Start it if that failed before."""


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
        self._kept: list[weakref.ref[Retried]] = []
        self._stopped = threading.Event()
        weakref.finalize(self, self._stopped.set)
        # The thread holds no watch, so that no watch outlives its owner.
        run = functools.partial(_run, weakref.ref(self), self._stopped, every_s)
        self._thread = Background(run, name="watch")

    def ensure(self) -> None:
        """Start the thread of this process unless it runs; costs next to nothing if it does."""
        self._thread.ensure()

    def keep(self, *retried: Retried) -> None:
        """Try again, with every look, what could not be started for want of a thread. Does not keep it alive."""
        self._kept += map(weakref.ref, retried)

    def look(self) -> None:
        """Call every job once."""
        kept = [alive.retry for reference in self._kept if (alive := reference())]
        for job in (*kept, *self._jobs):
            try:
                job()
            except Exception:
                logger.exception("a job of the watch failed")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.end()


def _run(watch: weakref.ref[Watch], stopped: threading.Event, every_s: float) -> None:
    while not stopped.wait(every_s):
        if (alive := watch()) is not None:
            alive.look()
            del alive
