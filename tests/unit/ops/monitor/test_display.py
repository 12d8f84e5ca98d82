"""What is seen of a watch."""

from __future__ import annotations

import io

from rich.console import Console

from tests.unit.ops.monitor.records import BEGAN_S, alert, ledger_of, seen
from velro_auth.ops.monitor.aggregate import Aggregate
from velro_auth.ops.monitor.display import PLAIN_EVERY_S, Display
from velro_auth.ops.monitor.levels import Levels
from velro_auth.telemetry.slo import SloTarget


def levels() -> Levels:
    judge = Levels(["health", "ping", "login"], promise=SloTarget(), window_s=300.0, outputs=[])
    for second in range(10):
        judge.note(seen(second))
    return judge


def shown(ledger: Aggregate, *, is_terminal: bool) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=140, force_terminal=is_terminal, highlight=False)
    return Display(console, ledger=ledger, title="http://127.0.0.1:8000"), out


def test_a_log_gets_a_line_now_and_then_and_news_at_once() -> None:
    display, out = shown(ledger_of(seen(0), seen(1, 503, target="login", code="busy")), is_terminal=False)
    judge = levels()

    display.start(BEGAN_S)
    display.update(BEGAN_S + 1, judge.reading)
    display.update(BEGAN_S + PLAIN_EVERY_S, judge.reading)
    display.update(BEGAN_S + 2 * PLAIN_EVERY_S - 1, judge.reading)
    display.say(BEGAN_S, "health: [no] markup")
    display.update(BEGAN_S + 2 * PLAIN_EVERY_S, judge.reading)
    display.close()

    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert "health 200, p95 21 ms, 100.00 % · login 503 busy, 100.00 %" in lines[0]
    assert lines[1].endswith("health: [no] markup")


def test_a_terminal_gets_a_table_with_what_is_wrong_now() -> None:
    ledger = ledger_of(
        seen(0),
        seen(1, failure="timeout", target="ping"),
        seen(2, failure="timeout", target="ping"),
        seen(3, target="login"),
        alert(4, "warning", target="login", name="login_p95"),
    )
    display, out = shown(ledger, is_terminal=True)

    display.start(BEGAN_S)
    display.update(BEGAN_S, levels().reading)
    display.close()

    text = out.getvalue()
    assert "no answer in time" in text
    assert "warning: much fails" in text
    assert "100.00 %" in text
    assert "well" in text
