"""What is seen of a watch while it goes on: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from velro_auth.ops.monitor.aggregate import Aggregate, TargetStatistics
from velro_auth.ops.monitor.incidents import Incident
from velro_auth.ops.monitor.observation import TARGETS
from velro_auth.telemetry.slo import Reading

#: Between two plain lines: often enough to see that it lives, seldom enough to read a night of it.
PLAIN_EVERY_S: Final = 30.0

_COLUMNS: Final = ("last", "p50 ms", "p95 ms", "p99 ms", "success", "now")


class Display:
    """Shows what a ledger holds.

    Args:
        console: Where.
        ledger: What was seen.
        title: Above the table.
    """

    def __init__(self, console: Console, *, ledger: Aggregate, title: str) -> None:
        self._console = console
        self._ledger = ledger
        self._title = title
        self._live: Live | None = None
        self._says_s = math.inf

    def start(self, now_s: float) -> None:
        """Begin."""
        self._says_s = now_s + PLAIN_EVERY_S
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()

    def update(self, now_s: float, reading: Callable[[str], Reading]) -> None:
        """Show the state of this moment; *reading* tells the service level of a target."""
        if self._live is not None:
            self._live.update(self._table(reading))
        elif now_s >= self._says_s:
            self._says_s = now_s + PLAIN_EVERY_S
            parts = (_line(name, account, reading(name)) for name, account in self._accounts())
            self.say(now_s, " · ".join(parts))

    def say(self, now_s: float, text: str) -> None:
        """Print one line that stays."""
        time = dt.datetime.fromtimestamp(now_s).astimezone().strftime("%H:%M:%S")
        self._console.print(f"{time} {text}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _accounts(self) -> list[tuple[str, TargetStatistics]]:
        return [(name, self._ledger.accounts[name]) for name in TARGETS if name in self._ledger.accounts]

    def _table(self, reading: Callable[[str], Reading]) -> Table:
        shown = Table(Column("target", no_wrap=True), *_COLUMNS, title=self._title)
        alerts = {incident.target: incident for incident in self._ledger.alerts.values()}
        for name, account in self._accounts():
            now = account.tracker.current or alerts.get(name)
            shown.add_row(name, _last(account), *_figures(reading(name)), _now(now))
        shown.caption = f"{self._ledger.answers} answers · watched for {self._ledger.watched_s:.0f} s"
        return shown


def _last(account: TargetStatistics) -> str:
    assert account.last is not None
    return f"{account.last.outcome}, {account.last.took_ms:.0f} ms"


def _figures(reading: Reading) -> tuple[str, ...]:
    times = (reading.p50_ms, reading.p95_ms, reading.p99_ms)
    return (
        *(f"{value:.0f}" if reading.timed else "" for value in times),
        f"{reading.success_rate:.2f} %" if reading.logins else "",
    )


def _now(incident: Incident | None) -> Text:
    if incident is None:
        return Text("well", "green")
    return Text(incident.what, "yellow" if incident.level == "warning" else "red")


def _line(name: str, account: TargetStatistics, reading: Reading) -> str:
    assert account.last is not None
    times = f", p95 {reading.p95_ms:.0f} ms" if reading.timed else ""
    return f"{name} {account.last.outcome}{times}, {reading.success_rate:.2f} %"
