"""The service level of each target: the rules, window and hysteresis that the service judges its own logins by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from velro_auth.ops.monitor.observation import TARGETS, Observation
from velro_auth.telemetry import slo
from velro_auth.telemetry.alerts import Alerts, Announcement
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.slo import Level, Reading, SloTarget
from velro_auth.telemetry.window import Window

#: Told of a change: the target and what is announced.
Output: TypeAlias = Callable[[str, Announcement], None]


class Levels:
    """Judges the last minutes of each target.

    Its time is that of the observations: a file that is taken up again fills the windows as they were.

    Args:
        targets: What is watched.
        promise: What is demanded of each of them.
        window_s: Length of the rolling window.
        outputs: Who is told of a change; must not block.
        raise_after_s: How long a worse level has to last.
        clear_after_s: How long a better level has to last.
    """

    def __init__(
        self,
        targets: Iterable[str],
        *,
        promise: SloTarget,
        window_s: float,
        outputs: Sequence[Output],
        raise_after_s: float = 10.0,
        clear_after_s: float = 30.0,
    ) -> None:
        self._now_s = 0.0
        self._promise = promise
        workers = Workers()
        self._windows: Final = {name: Window(workers, length_s=window_s, clock=self._time) for name in targets}
        self._alerts: Final[Mapping[str, Alerts]] = {
            name: Alerts(
                workers,
                rules=_rules(promise, name),
                min_samples=promise.min_samples,
                outputs=[partial(output, name) for output in outputs],
                raise_after_s=raise_after_s,
                clear_after_s=clear_after_s,
                clock=self._time,
                wall_clock=self._time,
            )
            for name in self._windows
        }

    def note(self, seen: Observation) -> None:
        """Note one observation; what was throttled or never sent says nothing about the target."""
        self._advance(seen.at_s)
        if seen.target in self._windows and seen.verdict in {"success", "failure"}:
            self._windows[seen.target].add(
                is_success=seen.verdict == "success",
                took_ms=seen.took_ms if seen.has_latency else None,
                own_ms=seen.own_ms or 0.0,
            )

    def take_up(self, alert: str, level: Level) -> None:
        """Go on with an alert that an earlier run announced."""
        for alerts in self._alerts.values():
            if alert in alerts.names:
                alerts.restore(alert, level)

    def look(self, now_s: float) -> None:
        """Judge every target."""
        self._advance(now_s)
        for name, alerts in self._alerts.items():
            alerts.evaluate(partial(self.reading, name))

    def reading(self, target: str) -> Reading:
        """Return the service level of one target at this moment."""
        return slo.read(self._windows[target], self._promise)

    def _advance(self, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)

    def _time(self) -> float:
        return self._now_s


def _rules(promise: SloTarget, target: str) -> list[slo.Rule]:
    """Return the demands on one target.

    Without the one on the burn rate: what burns six times as fast as allowed misses the demand on success already, and
    one outage of a gateway is told once for each target as it is.
    """
    return [rule for rule in slo.rules(promise, name=target, plural=TARGETS[target]) if not rule.name.endswith("_burn")]
