"""Progress of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.figures import Figures, figures
from velro_auth.ops.bench.openloop import Sample
from velro_auth.ops.bench.report import HEAD, cells

#: Seconds between two plain lines.
PLAIN_EVERY_S: Final = 5.0

#: With fewer values than this, p99 is the maximum.
MIN_FOR_P99: Final = 100


class Progress:
    """Shows each level while it runs."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._title = ""
        self._planned = 0
        self._live: Live | None = None
        self._printed_s = 0.0

    def start_level(self, rps: float, planned: int, why_shortened: str) -> None:
        """Announce a level."""
        self._title, self._planned, self._printed_s = f"{rps:g} requests a second", planned, self._clock()
        if why_shortened:
            self._print(f"{self._title}: only {planned} requests, because {why_shortened}.")
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            self._print(f"{self._title}: {planned} requests …")

    def update(self, samples: Sequence[Sample]) -> None:
        """Show the figures so far."""
        if self._live is not None:
            self._live.update(table(f"{self._title}: {len(samples)}/{self._planned}", figures(samples)))
        elif self._clock() - self._printed_s >= PLAIN_EVERY_S:
            self._printed_s = self._clock()
            self._print(_line(f"  {len(samples)}/{self._planned}", figures(samples)))

    def end_level(self, level: Level) -> None:
        """Show the result of a level."""
        shown = table(f"{self._title}: {level.verdict.grade.name.lower()}", level.figures)
        if self._live is not None:
            self._live.update(shown)
            self._live.stop()
            self._live = None
        else:
            self._console.print(shown)
        for reason in level.verdict.reasons:
            self._print(f"  {reason}")
        good = level.figures.classes.get("good")
        if good is not None and good.count < MIN_FOR_P99:
            self._print(f"  p99 of {good.count} good logins is the slowest of them: use a longer --duration.")

    def pause(self, pause_s: float) -> None:
        """Print that nothing is sent for some time."""
        self._print(f"Waiting {pause_s:g} s for Supabase's rate limit to forget the last level …")

    def close(self) -> None:
        """Restore the terminal; also after an error."""
        if self._live is not None:
            self._live.stop()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def table(title: str, found: Figures) -> Table:
    """Return the figures of a level as a table with a row for each class."""
    shown = Table(Column(HEAD[0], no_wrap=True), *HEAD[1:], title=title)
    for name, row in found.classes.items():
        shown.add_row(*cells(name, dataclasses.asdict(row)))
    rate = "none" if found.success_rate_percent is None else f"{found.success_rate_percent:.2f} %"
    own = "unknown" if found.own_ms is None else f"p50 {found.own_ms.p50:.1f}, p95 {found.own_ms.p95:.1f} ms"
    shown.caption = f"success rate {rate} · own share {own} · wrong answers {found.failed}"
    return shown


def _line(head: str, found: Figures) -> str:
    good = found.classes.get("good")
    if good is None or good.latency_ms is None:
        return head
    times = good.latency_ms
    return f"{head}  good p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f} ms"
