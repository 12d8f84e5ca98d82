"""How many slots the gate has: a fixed number, or one that follows Supabase's answering times."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Final, Protocol

#: Calls per measurement. Fewer make the size jump, more make it late.
SAMPLES: Final = 20

#: Measurements that the best answering time is taken from: the last 2,000 calls.
MEMORY: Final = 100

#: Answers may take this many times the best before the size shrinks (Netflix concurrency-limits uses 1.5).
TOLERANCE: Final = 1.5

#: The share of a new size that is taken over at once.
SMOOTHING: Final = 0.2


class Size(Protocol):
    """How many slots a gate has."""

    @property
    def slots(self) -> int:
        """Return how many there are now."""

    def took(self, took_s: float, *, in_flight: int) -> None:
        """Note how long a call took while *in_flight* were out. Called under the gate's lock."""


class FixedSize:
    """Always the same number."""

    def __init__(self, slots: int) -> None:
        self._slots = slots

    @property
    def slots(self) -> int:
        """Return how many there are."""
        return self._slots

    def took(self, took_s: float, *, in_flight: int) -> None:
        """Learn nothing."""


class AdaptiveSize:
    """Shrinks while Supabase answers slower than it can, grows while it does not.

    The gradient of Netflix's concurrency-limits and Envoy's adaptive concurrency: the best answering time over
    the current one, times the size, plus the square root of the size as room to try more.

    Args:
        least: Never fewer slots.
        most: Never more; also where it starts, so that a start is not slower than with a fixed size.
    """

    def __init__(self, *, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._size = float(most)
        self._samples: list[float] = []
        self._measured: deque[float] = deque(maxlen=MEMORY)

    @property
    def slots(self) -> int:
        """Return how many there are now."""
        return int(self._size)

    def took(self, took_s: float, *, in_flight: int) -> None:
        """Note how long a call took while *in_flight* were out."""
        self._samples.append(took_s)
        if len(self._samples) < SAMPLES:
            return
        current = statistics.median(self._samples)
        self._samples.clear()
        self._measured.append(current)
        gradient = max(0.5, min(1.0, TOLERANCE * min(self._measured) / current))
        wanted = self._size * gradient + math.sqrt(self._size)
        if wanted > self._size and in_flight < self._size / 2:
            return  # nothing was learnt about more: half of the slots were free
        smoothed = (1 - SMOOTHING) * self._size + SMOOTHING * wanted
        self._size = min(self._most, max(self._least, smoothed))
