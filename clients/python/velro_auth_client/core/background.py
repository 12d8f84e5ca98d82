"""A thread beside the requests of a process: started when it is needed, and again when the system had none to give.

A system out of threads or memory says ``RuntimeError: can't start new thread``, and has some a moment later. No request
may fail because of that, and no part of a process may stay without its thread for good.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("velro_auth.background")


class Background:
    """One daemon thread of a process; a forked child has none until it starts its own.

    Args:
        run: What the thread does.
        name: What it is called, in the log too.
    """

    def __init__(self, run: Callable[[], object], *, name: str) -> None:
        self._run, self._name = run, name
        self._thread: threading.Thread | None = None
        self._is_missing = self._has_ended = False
        self._lock = threading.Lock()
        # Weak, because a hook can never be taken back.
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _wake(reference))

    def after_fork(self) -> None:
        """Forget the parent's thread, and its lock, which another of its threads may have held."""
        self._thread, self._lock = None, threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process."""
        return self._thread is not None and self._thread.is_alive()

    def ensure(self) -> bool:
        """Start the thread unless it runs or was ended; return whether it runs.

        Never raises: where the system has no thread to give, the next call tries again.
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
                self._failed(error)
                return False
            self._thread = thread
            if self._is_missing:
                self._is_missing = False
                logger.info("a background thread runs again", extra={"name_of_thread": self._name})
            return True

    def retry(self) -> None:
        """Start the thread if that failed before; for who looks after it now and then."""
        if self._is_missing:
            self.ensure()

    def end(self, within_s: float = 0.0) -> None:
        """Start no other from now on, and wait for the one that runs, for *within_s* at most.

        What the thread does has to find out by itself that it shall end.
        """
        with self._lock:
            self._has_ended, thread = True, self._thread
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):
                thread.join(within_s)

    def _failed(self, error: RuntimeError) -> None:
        if not self._is_missing:
            self._is_missing = True
            logger.warning(
                "a background thread could not be started: trying again",
                extra={"name_of_thread": self._name, "error": str(error)},
            )


def _wake(reference: weakref.ref[Background]) -> None:
    if (background := reference()) is not None:
        background.after_fork()


class Forked(Protocol):
    """Something that has to start anew in a child."""

    def after_fork(self) -> None:
        """Forget the parent's threads, and locks that one of them may have held."""


def after_fork(owner: Forked) -> None:
    """Have ``owner.after_fork()`` called in every child forked from now on, as long as it exists."""
    # Weak, because a hook can never be taken back.
    reference = weakref.ref(owner)

    def wake() -> None:
        alive = reference()
        if alive is not None:
            alive.after_fork()

    os.register_at_fork(after_in_child=wake)
