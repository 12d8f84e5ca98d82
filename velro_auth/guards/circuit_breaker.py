"""Leaves Supabase alone while it fails, and notices when it is back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

from velro_auth.errors import CircuitOpen, UpstreamError, VelroAuthError

State: TypeAlias = Literal["closed", "open", "half-open"]

WINDOW_S: Final = 10.0
MIN_CALLS: Final = 20
BAD_SHARE: Final = 0.5

#: The rest, and how long a probe counts as out. With an upstream deadline of 5 s a hanging probe must not be
#: waited for: the first success has to come within 5 s after the fault ends.
REST_S: Final = 3.0
PROBE_S: Final = 3.0


def _nobody(_state: State) -> None:
    """Tell nobody."""


class CircuitBreaker:
    """Opens when half of at least 20 calls within 10 s met an outage; per process.

    Only an ``UpstreamError`` that is an outage is a bad call. Every other error of ours is an answer, and whoever
    answers works: no storm of wrong passwords can open it. While it is open one caller at a time probes; the
    first good answer closes it. A probe that never comes back is given up after ``probe_s``.

    Its lock is held to look and to note, never during a call.

    Args:
        window_s: How far back calls count.
        min_calls: Fewer calls than this never open it.
        bad_share: The share of bad calls that opens it.
        rest_s: How long Supabase is left alone before a probe, and between probes.
        probe_s: How long a probe keeps others from probing.
        clock: Seconds that never go back.
        on_change: Told the new state when it opens and when it closes.
    """

    def __init__(
        self,
        *,
        window_s: float = WINDOW_S,
        min_calls: int = MIN_CALLS,
        bad_share: float = BAD_SHARE,
        rest_s: float = REST_S,
        probe_s: float = PROBE_S,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[State], None] = _nobody,
    ) -> None:
        self._calls = _Window(window_s)
        self._min_calls = min_calls
        self._bad_share = bad_share
        self._rest_s = rest_s
        self._probe_s = probe_s
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._is_open = False
        self._next_probe = 0.0
        #: Counts openings, closings and probes: what a call carries home to be told from its successors.
        self._turn = 0
        self._opened_in = 0
        self._probe: int | None = None

    @property
    def state(self) -> State:
        """Closed, open, or half-open while a probe is out."""
        with self._lock:
            if not self._is_open:
                return "closed"
            return "open" if self._probe is None or self._clock() >= self._next_probe else "half-open"

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Ask Supabase within the block, and learn from what comes of it.

        Raises:
            CircuitOpen: Supabase gets a rest; ``retry_after_s`` says until when.
        """
        turn = self._enter()
        try:
            yield
        except UpstreamError as error:
            self._note(turn, is_bad=error.is_outage)
            raise
        except VelroAuthError:
            # A refused password is a healthy answer.
            self._note(turn, is_bad=False)
            raise
        except BaseException:
            self._abandon(turn)
            raise
        self._note(turn, is_bad=False)

    def _enter(self) -> int:
        with self._lock:
            if self._is_open:
                now = self._clock()
                if now < self._next_probe:
                    raise CircuitOpen("Supabase gets a rest", retry_after_s=self._next_probe - now)
                self._turn += 1
                self._probe, self._next_probe = self._turn, now + self._probe_s
            return self._turn

    def _note(self, turn: int, *, is_bad: bool) -> None:
        with self._lock:
            noted = self._noted_open if self._is_open else self._noted_closed
            change = noted(turn, is_bad=is_bad)
        if change:
            self._on_change(change)

    def _noted_closed(self, turn: int, *, is_bad: bool) -> State | None:
        if turn < self._turn:
            return None  # asked before the last closing: old news
        now = self._clock()
        calls, bad = self._calls.add(now, is_bad=is_bad)
        if not is_bad or calls < self._min_calls or bad < self._bad_share * calls:
            return None
        self._turn += 1
        self._is_open, self._opened_in, self._probe = True, self._turn, None
        self._next_probe = now + self._rest_s
        return "open"

    def _noted_open(self, turn: int, *, is_bad: bool) -> State | None:
        if turn <= self._opened_in:
            return None  # asked before it opened: old news
        if is_bad:
            if turn == self._probe:
                self._probe, self._next_probe = None, self._clock() + self._rest_s
            return None
        # A probe that was given up but answers at last is as good as any.
        self._turn += 1
        self._is_open, self._probe = False, None
        self._calls.clear()
        return "closed"

    def _abandon(self, turn: int) -> None:
        """Learn nothing from a call that ended in a defect of ours; let the next one probe."""
        with self._lock:
            if turn == self._probe:
                self._probe, self._next_probe = None, self._clock()


class _Window:
    """Good and bad calls of the last seconds, one row per tenth of the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._row_s = window_s / 10
        self._rows: deque[list[float]] = deque()

    def add(self, now: float, *, is_bad: bool) -> tuple[float, float]:
        """Note one call; return how many there were, and how many of them bad."""
        if not self._rows or now >= self._rows[-1][0] + self._row_s:
            self._rows.append([now, 0, 0])
        while self._rows[0][0] <= now - self._window_s:
            self._rows.popleft()
        self._rows[-1][1] += 1
        self._rows[-1][2] += is_bad
        return sum(row[1] for row in self._rows), sum(row[2] for row in self._rows)

    def clear(self) -> None:
        self._rows.clear()
