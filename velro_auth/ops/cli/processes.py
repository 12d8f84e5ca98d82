"""Child processes that end when this process ends, and signals that stop this process."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

#: ``prctl`` option of Linux: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG: Final = 1


class Stopped(Exception):
    """A signal asked this process to stop (Ctrl-C, SIGTERM, or a closed terminal)."""


_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds between two checks of ``await_end``. A signal that arrives just before the pause does not interrupt it.
_CHECK_EVERY_S: Final = 0.5


@dataclass
class StopRequest:
    """Whether a signal has asked this process to stop.

    Not a ``threading.Event``: a signal handler would deadlock if the main thread holds the lock of the event.
    """

    is_made: bool = False


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """On SIGINT, SIGTERM and SIGHUP, set the request and raise ``Stopped`` in the main thread.

    An exception is lost when it is raised in a finaliser or a callback, so ``await_end`` checks the request as well.
    """
    request = StopRequest()

    def stop(_: int, __: FrameType | None) -> None:
        # A second Ctrl-C must not interrupt the clean-up.
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        request.is_made = True
        raise Stopped

    with _handled(_STOP_SIGNALS, stop):
        yield request


@contextlib.contextmanager
def deferred_signals() -> Iterator[StopRequest]:
    """On SIGINT or SIGTERM, set the request only, so that the work can finish; a second signal has its usual effect."""
    request = StopRequest()

    def defer(number: int, _: FrameType | None) -> None:
        request.is_made = True
        signal.signal(number, before[signal.Signals(number)])

    with _handled((signal.SIGINT, signal.SIGTERM), defer) as before:
        yield request


@contextlib.contextmanager
def _handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[Mapping[signal.Signals, Any]]:
    """Handle signals for the length of a block, which gets the handlers from before."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def await_end(process: subprocess.Popen[str], request: StopRequest) -> int:
    """Wait until *process* ends, and return its status.

    Raises:
        Stopped: A signal asked this process to stop.
    """
    while (status := process.poll()) is None:
        if request.is_made:
            raise Stopped
        time.sleep(_CHECK_EVERY_S)
    return status


def start(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
    """Start *command* in a new session, so that a Ctrl-C in the terminal does not reach it.

    On Linux it gets SIGTERM when this process is killed.
    """
    return subprocess.Popen(  # noqa: S603 - our own programs
        command,
        env=dict(env),
        text=True,
        start_new_session=True,
        preexec_fn=_follow_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
        **options,
    )


def stop(process: subprocess.Popen[str], *, within_s: float) -> None:
    """Terminate *process*; kill it after *within_s*."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _follow_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
