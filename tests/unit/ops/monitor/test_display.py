"""What is seen of a watch."""

from __future__ import annotations

import io

from rich.console import Console

from tests.unit.ops.monitor.records import BEGAN_S, aggregate_of, alert, observed
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import PLAIN_EVERY_S, Display
from velro_auth.ops.monitor.levels import Levels
from velro_auth.telemetry.slo import SloTarget


def levels_of() -> Levels:
    levels = Levels(["health", "ping", "login"], slo_target=SloTarget(), window_s=300.0, outputs=[])
    for second in range(10):
        levels.add(observed(second))
    return levels


def shown(aggregate: Aggregate, *, is_terminal: bool) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=140, force_terminal=is_terminal, highlight=False)
    return Display(console, aggregate=aggregate, title="http://127.0.0.1:8000"), out


def test_a_log_gets_a_line_now_and_then_and_news_at_once() -> None:
    display, out = shown(aggregate_of(observed(0), observed(1, 503, target="login", code="busy")), is_terminal=False)
    levels = levels_of()

    display.start(BEGAN_S)
    display.update(BEGAN_S + 1, levels.reading)
    display.update(BEGAN_S + PLAIN_EVERY_S, levels.reading)
    display.update(BEGAN_S + 2 * PLAIN_EVERY_S - 1, levels.reading)
    display.print_line(BEGAN_S, "health: [no] markup")
    display.update(BEGAN_S + 2 * PLAIN_EVERY_S, levels.reading)
    display.close()

    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert "health 200, p95 21 ms, 100.00 % · login 503 busy, 100.00 %" in lines[0]
    assert lines[1].endswith("health: [no] markup")


def test_a_terminal_gets_a_table_with_what_is_wrong_now() -> None:
    aggregate = aggregate_of(
        observed(0),
        observed(1, failure="timeout", target="ping"),
        observed(2, failure="timeout", target="ping"),
        observed(3, target="login"),
        alert(4, "warning", target="login", name="login_p95"),
    )
    display, out = shown(aggregate, is_terminal=True)

    display.start(BEGAN_S)
    display.update(BEGAN_S, levels_of().reading)
    display.close()

    text = out.getvalue()
    assert "no answer in time" in text
    assert "warning: much fails" in text
    assert "100.00 %" in text
    assert "well" in text
