"""Gives each worker process a processor core of its own.

A threaded worker hands each request from its main thread to another one, and the interpreter's lock with it. On
two cores that hand-over costs more than the request: pinned to one core, the same worker does 1.8 to 2.4 times
as much (measured, two cores).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any


class Affinity:
    """Chooses cores in the master and pins in the worker.

    The first core is drawn by lot, so that several services on one machine do not all meet on its first core.

    Args:
        workers: How many worker processes there will be.
        cores: What may be used; None asks the system, which knows none on macOS.
        draw: Chooses the first one of so many.
    """

    def __init__(
        self,
        *,
        workers: int,
        cores: Collection[int] | None = None,
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        ordered = sorted(_allowed() if cores is None else cores)
        first = draw(len(ordered)) if ordered else 0
        # More workers than cores: the system's scheduler is the better judge.
        self._cores = (ordered[first:] + ordered[:first]) if workers <= len(ordered) else []

    def choose(self, taken: Iterable[int | None]) -> int | None:
        """Return the core that fewest others have; None when workers are not to be pinned. Call it before forking."""
        counted = list(taken)
        return min(self._cores, key=counted.count) if self._cores else None


def pin(core: int | None) -> None:
    """Pin this process, and all threads it will start, to *core*. Call it after forking."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def core_of(worker: Any) -> int | None:
    """Return the core that was chosen for a worker."""
    core: int | None = getattr(worker, "core", None)
    return core


def _allowed() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
