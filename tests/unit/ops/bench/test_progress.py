"""What is seen of a run."""

from __future__ import annotations

import io

from rich.console import Console

from tests.unit.ops.bench.samples import logins, sample
from velro_auth.ops.bench.document import Level
from velro_auth.ops.bench.evaluation import Thresholds
from velro_auth.ops.bench.figures import figures
from velro_auth.ops.bench.progress import Progress
from velro_auth.ops.bench.schedule import Arrival, Schedule


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def level() -> Level:
    samples = [*logins(10, 20, 30), sample(status=503)]
    found = figures(samples)
    return Level(
        schedule=Schedule(5, 1, [Arrival(0.0, "good")] * 4, 1),
        took_s=1,
        connections_opened=1,
        samples=samples,
        figures=found,
        verdict=Thresholds().evaluate(found),
    )


def test_a_log_gets_a_line_now_and_then_and_a_table_at_the_end() -> None:
    out, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=out, width=120, force_terminal=False), clock=clock)

    progress.start_level(5, 4, "")
    progress.update(logins(10))
    clock.now_s = 5
    progress.update(logins(10, 20))
    progress.update(logins(10, 20, 30))
    progress.end_level(level())
    progress.close()

    text = out.getvalue()
    assert "1/4" not in text
    assert "2/4  good p50 10.0, p95 20.0, p99 20.0 ms" in text
    assert "3/4" not in text
    assert "503: 1" in text
    assert "75.00 % of good logins succeeded, less than 99 %" in text
    assert "\x1b[" not in text


def test_a_terminal_gets_a_table_that_moves() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=120, force_terminal=True))

    progress.start_level(5, 4, "")
    progress.update(logins(10, 20))
    progress.end_level(level())
    progress.close()

    text = out.getvalue()
    assert "\x1b[" in text
    assert "5 requests a second: critical" in text


def test_a_cut_level_says_why() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, force_terminal=False))

    progress.start_level(10, 25, "the limit is near")
    progress.pause(60)
    progress.close()

    assert "only 25 requests, because the limit is near." in out.getvalue()
    assert "Waiting 60 s" in out.getvalue()
