"""Child processes that end with us, whichever way we end."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

#: ``prctl`` option of Linux: the signal a process gets when its parent dies.
_PR_SET_PDEATHSIG: Final = 1


class Stopped(Exception):
    """A signal asked this process to end (Ctrl-C, SIGTERM, or a terminal that was closed)."""


_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: How often ``await_end`` looks, in seconds. A signal interrupts the pause, unless it comes in the instant before.
_LOOK_EVERY_S: Final = 0.5


@dataclass
class StopRequest:
    """Whether a signal has asked for the end.

    A plain attribute, and no ``threading.Event``: an event has a lock, and a signal handler that runs while the main
    thread holds that lock waits for it for ever.
    """

    is_made: bool = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Raise ``Stopped`` in the main thread on SIGINT, SIGTERM and SIGHUP, and note that one has come.

    An exception that is raised while the interpreter runs a finaliser or a callback is lost, so whatever goes on
    for long looks at the request as well (``await_end``).
    """
    request = StopRequest()

    def stop(_: int, __: FrameType | None) -> None:
        # Once is enough: a second Ctrl-C must not interrupt the tidying up.
        for number in _ENDS:
            signal.signal(number, signal.SIG_IGN)
        request.is_made = True
        raise Stopped

    before = {number: signal.signal(number, stop) for number in _ENDS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def noting_signals() -> Iterator[StopRequest]:
    """Yield a request that SIGINT and SIGTERM make, for work that ends its step first; a second one ends it at once."""
    asked = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        asked.is_made = True
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_end(process: subprocess.Popen[str], request: StopRequest) -> int:
    """Wait until *process* has ended, and return its status.

    Raises:
        Stopped: This process was asked to end.
    """
    while (status := process.poll()) is None:
        if request.is_made:
            raise Stopped
        time.sleep(_LOOK_EVERY_S)
    return status


def start(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Start *command* in a session of its own, so that a Ctrl-C in the terminal reaches us alone.

    On Linux it gets SIGTERM when we die without a chance to stop it.
    """
    return subprocess.Popen(  # noqa: S603 - our own programs
        command,
        env=dict(env),
        cwd=cwd,
        text=True,
        start_new_session=True,
        preexec_fn=_follow_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
        **options,
    )


def stop(process: subprocess.Popen[str], *, within_s: float) -> None:
    """Ask *process* to end, and insist after *within_s*."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _follow_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
