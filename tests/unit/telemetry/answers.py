"""What the tests of telemetry are made of: a clock moved by hand, answers, children."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from velro_auth.context import Lane, RequestContext
from velro_auth.telemetry.answered import ACCOUNT, HELD_MS, Answered


class HandClock:
    """Seconds, as many as the test says."""

    def __init__(self, now: float = 100_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def answer(
    status: int = 200,
    *,
    route: str = "login",
    took_ms: float = 120.0,
    upstream_ms: float = 110.0,
    held_ms: float | None = None,
    outcome: str = "ok",
    lane: Lane = "fast",
    account: str | None = None,
    reason: str | None = None,
) -> Answered:
    """Return an answered request."""
    context = RequestContext("a-request", "192.0.2.7", 0.0, lane=lane, upstream_ms=upstream_ms, outcome=outcome)
    notes = {HELD_MS: held_ms, ACCOUNT: account, "reason": reason}
    context.notes.update({name: value for name, value in notes.items() if value is not None})
    return Answered.after(took_ms, route=route, status=status, context=context, user_agent="a browser")


def samples(text: bytes) -> dict[str, float]:
    """Return what was exposed: ``name{label="value"}``, labels sorted, to number."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def repeat(times: int, action: Callable[[], object]) -> None:
    """Do something again and again."""
    for _ in range(times):
        action()


class Child:
    """A forked process, as gunicorn forks its workers: it does something, then waits to be killed."""

    def __init__(self, work: Callable[[], object]) -> None:
        done, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            word = b"no"
            try:
                work()
                word = b"ok"
            except BaseException:  # noqa: BLE001 - a child must never come back into the tests
                traceback.print_exc()
            os.write(tell, word)
            signal.pause()
            os._exit(0)
        os.close(tell)
        self.word = os.read(done, 2)
        os.close(done)
        if self.word != b"ok":
            self.kill()
            raise AssertionError("the child failed: see its traceback above")

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
