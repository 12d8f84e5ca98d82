"""Where everything that happens is put: into the file, into the ledger, before whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import Display
from velro_auth.ops.monitor.event_log import EventLog
from velro_auth.telemetry.alerts import Announcement


@dataclass(frozen=True)
class Recorder:
    """Keeps records.

    Attributes:
        journal: The file.
        ledger: Adds up.
        display: Shows what is news.
        clock: The time of day in seconds, never going back.
    """

    journal: EventLog
    ledger: Aggregate
    display: Display
    clock: Callable[[], float]

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keep one record."""
        self.journal.write(record)
        for news in self.ledger.add(record):
            self.display.say(self.clock(), news)

    def announced(self, target: str, announcement: Announcement) -> None:
        """Keep an alert."""
        told = announcement.fields()
        self.keep({**told, "kind": "alert", "target": target, "at": round(announcement.at, 3)})
