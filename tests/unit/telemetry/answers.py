"""What the tests of telemetry are made of: a clock moved by hand, answers, children."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from velro_auth.context import Lane, RequestContext
from velro_auth.telemetry.metrics import ResponseRecord
from velro_auth.telemetry.shared import Window


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
) -> ResponseRecord:
    """Return the record of a response; ``took_ms`` includes the deliberate delay."""
    context = RequestContext("a-request", "192.0.2.7", 0.0, lane=lane, upstream_ms=upstream_ms, outcome=outcome)
    notes = {"held_ms": held_ms, "account": account, "reason": reason}
    context.log_fields.update({name: value for name, value in notes.items() if value is not None})
    took_ms -= held_ms or 0.0
    return ResponseRecord(route, status, took_ms, max(0.0, took_ms - upstream_ms), context, "a browser")


def record_login(window: Window, response: ResponseRecord) -> None:
    """Count a login as telemetry does."""
    window.record(
        response.status,
        took_ms=response.took_ms,
        own_ms=response.own_ms,
        called_supabase=response.context.upstream_ms > 0,
    )


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
