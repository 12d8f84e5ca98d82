"""A watch from its first line to its last, with a clock and a poller moved by hand."""

from __future__ import annotations

import io
import json
import queue
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from tests.unit.ops.monitor.records import BEGAN_S, PLAN, observed
from tests.unit.telemetry.answers import HandClock
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import Display
from velro_auth.ops.monitor.levels import Levels
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.observation_file import ObservationFile
from velro_auth.ops.monitor.poller import Poller
from velro_auth.ops.monitor.run import MonitorRun, Recorder, polls_of


class Script:
    """A poller with given observations; each one advances the clock."""

    def __init__(self, clock: HandClock, observations: list[Observation]) -> None:
        self.observations = self
        self.log: list[str] = []
        self._clock = clock
        self._left = observations

    def start(self) -> None:
        self.log.append("start")

    def stop(self, within_s: float) -> None:
        self.log.append(f"stop within {within_s:g}")
        self._clock.advance(within_s)

    def get(self, *, block: bool, timeout: float) -> Observation:
        if not self._left:
            self._clock.advance(1)
            raise queue.Empty
        found = self._left.pop(0)
        self._clock.now = max(self._clock.now, found.at_s)
        return found


@pytest.fixture
def clock() -> HandClock:
    return HandClock(BEGAN_S)


def monitor(
    clock: HandClock, folder: Path, observations: list[Observation]
) -> tuple[list[dict[str, object]], Aggregate, Script, str]:
    """Run until all was observed; return the lines of the file, the aggregate, the poller and what was printed."""
    out, aggregate, script = io.StringIO(), Aggregate(), Script(clock, observations)
    observation_file = ObservationFile(folder / "observe.jsonl", warn=print)
    observation_file.open()
    recorder = Recorder(
        observation_file, aggregate, Display(Console(file=out, width=200), aggregate=aggregate, title=""), clock
    )
    levels = Levels(PLAN.targets, slo_target=PLAN.slo_target, window_s=PLAN.window_s, outputs=[recorder.record_alert])
    made = MonitorRun(PLAN, poller=cast("Poller", script), recorder=recorder, levels=levels, clock=clock)
    made.run(lambda: not observations)
    observation_file.close()
    lines = [json.loads(line) for line in (folder / "observe.jsonl").read_text().splitlines()]
    return lines, aggregate, script, out.getvalue()


def test_every_observation_is_a_line_and_so_are_begin_and_end(clock: HandClock, tmp_path: Path) -> None:
    lines, aggregate, script, _ = monitor(clock, tmp_path, [observed(1), observed(2, 503)])

    assert [line["kind"] for line in lines] == ["run", "observation", "observation", "end"]
    assert aggregate.answers == 2
    assert script.log == ["start", "stop within 10.2"]


def test_waiting_for_the_last_answers_is_no_gap_and_ends_no_incident(clock: HandClock, tmp_path: Path) -> None:
    lines, aggregate, _, _ = monitor(clock, tmp_path, [observed(1, 503), observed(2, 503)])

    assert lines[-1]["at"] == BEGAN_S + 2
    assert aggregate.gaps == []
    assert [incident.ended_s for incident in aggregate.incidents] == [None]


def test_an_alert_is_a_line_too_and_is_shown(clock: HandClock, tmp_path: Path) -> None:
    lines, aggregate, _, printed = monitor(clock, tmp_path, [observed(second, 503) for second in range(60)])

    alerts = [line for line in lines if line["kind"] == "alert"]
    assert [line["alert"] for line in alerts] == ["health_success"]
    assert aggregate.alert_levels == {"health_success": "critical"}
    assert "health: answered 503" in printed
    assert "critical: 100 % of answers of /health fail" in printed


def test_only_an_account_is_logged_in_with() -> None:
    def send(*_: object, **__: object) -> None:
        raise AssertionError

    made = polls_of(PLAN, send, email="ada@example.com", password="canary", clock=lambda: 0.0)  # type: ignore[arg-type] # never called

    assert [poll.target for poll in made] == ["health", "ping", "version", "ready", "login"]
    assert [poll.every_s for poll in made] == [1, 1, 1, 1, 10]
    assert made[-1].backoff is not None
    assert "canary" not in repr(made)
