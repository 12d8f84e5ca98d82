"""Background threads of a process.

When the system is out of threads or memory, Python raises ``RuntimeError: can't start new thread``. A moment later a
thread can usually be started. So no request fails because of it, and the start is tried again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

logger = logging.getLogger("velro_auth.background")


class Forked(Protocol):
    """An object that has to be reset in a forked child."""

    def after_fork(self) -> None:
        """Forget the parent's threads, and locks that one of them may have held."""


def after_fork(owner: Forked) -> None:
    """Call ``owner.after_fork()`` in every child forked from now on, as long as *owner* exists."""
    # A weak reference, because Python cannot unregister a hook.
    reference = weakref.ref(owner)

    def reset() -> None:
        if (alive := reference()) is not None:
            alive.after_fork()

    os.register_at_fork(after_in_child=reset)


class Background:
    """One daemon thread of a process. A forked child starts its own."""

    def __init__(self, run: Callable[[], object], *, name: str) -> None:
        self._run, self._name = run, name
        #: The thread that was started in this process; None before.
        self.thread: threading.Thread | None = None
        self._start_failed = self._has_ended = False
        self._lock = threading.Lock()
        after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's thread, and its lock, which another thread of the parent may have held."""
        self.thread, self._lock = None, threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process."""
        return self.thread is not None and self.thread.is_alive()

    def ensure(self) -> bool:
        """Start the thread unless it runs or was ended; return whether it runs.

        Never raises: where the system cannot start a thread, the next call tries again.
        """
        if self.is_running:
            return True
        with self._lock:
            if self.is_running or self._has_ended:
                return self.is_running
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._log_failure(error)
                return False
            self.thread = thread
            if self._start_failed:
                self._start_failed = False
                logger.info("a background thread runs again", extra={"name_of_thread": self._name})
            return True

    def retry(self) -> None:
        """Start the thread if an earlier start failed."""
        if self._start_failed:
            self.ensure()

    def end(self, within_s: float = 0.0) -> None:
        """Prevent further starts, and wait for the running thread, for *within_s* at most.

        This does not stop the thread: ``run`` has to return by itself.
        """
        with self._lock:
            self._has_ended, thread = True, self.thread
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):
                thread.join(within_s)

    def _log_failure(self, error: RuntimeError) -> None:
        if not self._start_failed:
            self._start_failed = True
            logger.warning(
                "a background thread could not be started: trying again",
                extra={"name_of_thread": self._name, "error": str(error)},
            )


class Retryable(Protocol):
    """An object whose start may have failed because the system was out of threads."""

    def retry(self) -> None:
        """Start it if an earlier start failed."""


class PeriodicJobs(Background):
    """Calls its jobs every few seconds, from a thread of its own.

    The thread starts with the first request of a process, so gunicorn's master has none, and ends with this object.
    A job that fails is logged and called again the next time.

    Args:
        jobs: What to call; no job may block for long.
        every_s: Seconds between two runs.
    """

    def __init__(self, jobs: Sequence[Callable[[], None]], *, every_s: float = 5.0) -> None:
        self._jobs = tuple(jobs)
        self._retryables: list[weakref.ref[Retryable]] = []
        self._stopped = threading.Event()
        weakref.finalize(self, self._stopped.set)
        # The thread holds only a weak reference, so that this object can be collected.
        run = functools.partial(_run_periodically, weakref.ref(self), self._stopped, every_s)
        super().__init__(run, name="watch")

    def retry_with(self, *retryables: Retryable) -> None:
        """Also call ``retry()`` of *retryables* in each run, as long as they exist."""
        self._retryables += map(weakref.ref, retryables)

    def run_once(self) -> None:
        """Call every job once."""
        retries = [alive.retry for reference in self._retryables if (alive := reference())]
        for job in (*retries, *self._jobs):
            try:
                job()
            except Exception:
                logger.exception("a job of the watch failed")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.end()


def _run_periodically(owner: weakref.ref[PeriodicJobs], stopped: threading.Event, every_s: float) -> None:
    while not stopped.wait(every_s):
        if (alive := owner()) is not None:
            alive.run_once()
            del alive
