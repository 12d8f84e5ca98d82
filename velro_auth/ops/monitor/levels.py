"""The service level of each target, with the same rules, window and hysteresis as in the service itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from velro_auth.ops.monitor.observation import TARGETS, Observation
from velro_auth.telemetry import slo
from velro_auth.telemetry.alerts import Alerts, Announcement
from velro_auth.telemetry.shared import Window, Workers
from velro_auth.telemetry.slo import Level, Reading, SloTarget

#: Called with the target and the announcement when an alert changes; must not block.
Output: TypeAlias = Callable[[str, Announcement], None]


class Levels:
    """Evaluates the rolling window of each target.

    Its clock is the time of the observations, so that the records of an earlier run restore the windows.

    Alerts get worse after *raise_after_s* and better after *clear_after_s*.
    """

    def __init__(
        self,
        targets: Iterable[str],
        *,
        slo_target: SloTarget,
        window_s: float,
        outputs: Sequence[Output],
        raise_after_s: float = 10.0,
        clear_after_s: float = 30.0,
    ) -> None:
        self._now_s = 0.0
        self._slo_target = slo_target
        workers = Workers()
        self._windows: Final = {name: Window(workers, length_s=window_s, clock=self._time) for name in targets}
        self._alerts: Final[Mapping[str, Alerts]] = {
            name: Alerts(
                workers,
                rules=partial(_rules, slo_target, name),
                min_samples=slo_target.min_samples,
                outputs=[partial(output, name) for output in outputs],
                raise_after_s=raise_after_s,
                clear_after_s=clear_after_s,
                clock=self._time,
                wall_clock=self._time,
            )
            for name in self._windows
        }

    def add(self, observation: Observation) -> None:
        """Add one observation to its window; throttled and unsent requests say nothing about the target."""
        self._advance(observation.at_s)
        if observation.target in self._windows and observation.result in {"success", "failure"}:
            self._windows[observation.target].add(
                is_success=observation.result == "success",
                took_ms=observation.took_ms if observation.has_latency else None,
                own_ms=observation.own_ms or 0.0,
            )

    def restore(self, alert: str, level: Level) -> None:
        """Set the level of an alert that an earlier run announced."""
        for alerts in self._alerts.values():
            if alert in alerts.names:
                alerts.restore(alert, level)

    def evaluate(self, now_s: float) -> None:
        """Evaluate all targets."""
        self._advance(now_s)
        for name, alerts in self._alerts.items():
            alerts.evaluate(partial(self.reading, name))

    def reading(self, target: str) -> Reading:
        """Return the present service level of one target."""
        return slo.read(self._windows[target], self._slo_target)

    def _advance(self, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)

    def _time(self) -> float:
        return self._now_s


def _rules(slo_target: SloTarget, target: str) -> list[slo.Rule]:
    """Return the rules for one target, without the burn rate.

    At six times the allowed burn rate, the rule on the success rate is broken already.
    """
    rules = slo.rules(slo_target, name=target, plural=TARGETS[target])
    return [rule for rule in rules if not rule.name.endswith("_burn")]
