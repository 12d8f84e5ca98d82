"""The state of a running monitor: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.observation import TARGETS
from velro_auth.ops.monitor.target_statistics import Incident, TargetStatistics
from velro_auth.telemetry.slo import Reading

#: Seconds between two plain lines.
PLAIN_EVERY_S: Final = 30.0

_COLUMNS: Final = ("last", "p50 ms", "p95 ms", "p99 ms", "success", "now")


class Display:
    """Shows an aggregate."""

    def __init__(self, console: Console, *, aggregate: Aggregate, title: str) -> None:
        self._console = console
        self._aggregate = aggregate
        self._title = title
        self._live: Live | None = None
        self._next_line_s = math.inf

    def start(self, now_s: float) -> None:
        """Start the live table."""
        self._next_line_s = now_s + PLAIN_EVERY_S
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()

    def update(self, now_s: float, reading: Callable[[str], Reading]) -> None:
        """Show the present state; *reading* returns the service level of a target."""
        if self._live is not None:
            self._live.update(self._table(reading))
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + PLAIN_EVERY_S
            parts = (_line(name, statistics, reading(name)) for name, statistics in self._targets())
            self.print_line(now_s, " · ".join(parts))

    def print_line(self, now_s: float, text: str) -> None:
        """Print one permanent line."""
        time = dt.datetime.fromtimestamp(now_s).astimezone().strftime("%H:%M:%S")
        self._console.print(f"{time} {text}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Restore the terminal; also after an error."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _targets(self) -> list[tuple[str, TargetStatistics]]:
        return [(name, self._aggregate.targets[name]) for name in TARGETS if name in self._aggregate.targets]

    def _table(self, reading: Callable[[str], Reading]) -> Table:
        shown = Table(Column("target", no_wrap=True), *_COLUMNS, title=self._title)
        alerts = {incident.target: incident for incident in self._aggregate.alerts.values()}
        for name, statistics in self._targets():
            now = statistics.tracker.current or alerts.get(name)
            assert statistics.last is not None
            last = f"{statistics.last.outcome}, {statistics.last.took_ms:.0f} ms"
            shown.add_row(name, last, *_figures(reading(name)), _state(now))
        shown.caption = f"{self._aggregate.answers} answers · watched for {self._aggregate.watched_s:.0f} s"
        return shown


def _figures(reading: Reading) -> tuple[str, ...]:
    times = (reading.p50_ms, reading.p95_ms, reading.p99_ms)
    return (
        *(f"{value:.0f}" if reading.timed else "" for value in times),
        f"{reading.success_rate:.2f} %" if reading.logins else "",
    )


def _state(incident: Incident | None) -> Text:
    if incident is None:
        return Text("well", "green")
    return Text(incident.what, "yellow" if incident.level == "warning" else "red")


def _line(name: str, statistics: TargetStatistics, reading: Reading) -> str:
    assert statistics.last is not None
    times = f", p95 {reading.p95_ms:.0f} ms" if reading.timed else ""
    return f"{name} {statistics.last.outcome}{times}, {reading.success_rate:.2f} %"
