"""A clock that only moves when it is told to."""

from __future__ import annotations


class HandClock:
    """Seconds, as many as the test says."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
