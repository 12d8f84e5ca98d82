"""Where lines go: at once where that cannot block, else through a bounded queue and one thread."""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from velro_auth.telemetry.descriptors import wait_for_room, whole, write_on

#: At one line a request this is a minute and a half at a hundred requests a second, and a few megabytes.
MAX_LINES: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024

#: How long the process that built a sink waits for it, in seconds, before it drops a line.
PATIENCE_S: Final = 0.05

#: How long the end of a process waits for its last lines, in seconds.
FLUSH_S: Final = 2.0

_STDOUT: Final = 1

#: Has ``pwritev`` fail rather than wait. Linux has it; pipes take it since 6.4, and so do sockets.
_AT_ONCE: Final[int] = getattr(os, "RWF_NOWAIT", 0)


def stdout() -> int:
    """Return the descriptor of stdout."""
    return _STDOUT


def _unheard() -> None:
    """Do nothing about a lost line: the sink counts it."""


class _Line(bytes):
    """One line, or the rest of one.

    Attributes:
        on_lost: Called when it could not be written.
        is_rest: Whether its beginning is written already.
        tells_of: How many dropped lines it tells of; 0 for any other line.
    """

    on_lost: Callable[[], None] = staticmethod(_unheard)
    is_rest: bool = False
    tells_of: int = 0

    @property
    def stands_for(self) -> int:
        """How many lines are unsaid when this one is lost."""
        return self.tells_of or 1


class Sink:
    """Takes lines and writes them to a descriptor.

    In a forked process (a worker) a line is written by the thread that has it, if no other waits and the system takes
    it at once: waking another thread costs more than the line. Else it waits for a thread, which is started with the
    first line. No caller ever waits, and lines beyond the bounds are dropped and counted. The process that built the
    sink (gunicorn's master, a command) should have no threads and has little to say: it writes itself, and drops a line
    that cannot be written within ``PATIENCE_S``. How many are missing is said in one line as soon as there is room
    again.

    Args:
        descriptor: Opens what is written to; called once in each process, with the first line.
        max_lines: How many lines may wait.
        max_bytes: How much they may be together.
        wall_clock: The time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        descriptor: Callable[[], int] = stdout,
        *,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._open = descriptor
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._wall_clock = wall_clock
        self._is_forked = False
        self._begin()
        # Weak, because a hook can never be taken back.
        reference = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _wake(reference))

    def _begin(self) -> None:
        #: Lines that were dropped in this process.
        self.dropped = 0
        self._unsaid = 0
        self._fd: int | None = None
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        self._is_writing = False
        self._is_torn = False
        self._takes_at_once = bool(_AT_ONCE)
        self._thread: threading.Thread | None = None
        # Reentrant: a signal's handler may log while its thread is in here.
        self._changed = threading.Condition(threading.RLock())

    def after_fork(self) -> None:
        """Leave the parent's lines to the parent."""
        self._is_forked = True
        self._begin()

    def write(self, line: str, on_lost: Callable[[], None] = _unheard) -> bool:
        """Take one line, without its end; return whether it was taken.

        Args:
            line: The line.
            on_lost: Called from another thread when the line was taken and could not be written: the disk is full.
        """
        data = _Line(line.encode("utf-8", "backslashreplace") + b"\n")
        data.on_lost = on_lost
        with self._changed:
            taken = self._queue(data) if self._is_forked else self._put_patiently(data)
            if not taken:
                self.dropped += 1
                self._unsaid += 1
        return taken

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until all lines are written, for so long at most; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, within_s)

    def _queue(self, data: _Line) -> bool:
        if len(self._lines) >= self._max_lines or self._bytes + len(data) > self._max_bytes:
            return False
        self._start()
        if not self._takes_at_once or self._lines or self._is_writing or self._unsaid or self._is_torn:
            self._lines.append(data)
        else:
            data = self._put_at_once(data)
        self._bytes += len(data)
        if self._lines and not self._is_writing:
            self._changed.notify_all()
        return True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sink", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # Out of threads for a moment: the next line tries again.
                self._thread = None

    def _put_at_once(self, line: _Line) -> _Line:
        """Write what needs no waiting, of a pipe all or nothing up to ``PIPE_BUF``; queue the rest and return it."""
        # A signal's handler may log in between, and must not get into the middle of this line.
        self._is_writing = True
        rest = line
        try:
            if written := os.pwritev(self._descriptor(), [line], -1, _AT_ONCE):
                rest = _Line(line[written:])
                rest.on_lost, rest.is_rest = line.on_lost, True
        except BlockingIOError:
            pass
        except OSError:
            # Not this kind of descriptor, or an older system. If it is worse than that, the thread will find out.
            self._takes_at_once = False
        finally:
            if rest:
                self._lines.appendleft(rest)
            self._is_writing = False
        return rest

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                self._is_writing = True
                taken = self._take()
            lost = taken[whole(taken, self._put(taken)) :]
            for line in lost:
                line.on_lost()
            with self._changed:
                self.dropped += sum(not line.tells_of for line in lost)
                self._unsaid += sum(line.stands_for for line in lost)

    def _take(self) -> list[_Line]:
        """Take as many lines as the kernel writes in one piece: more could mix with another worker's."""
        taken = [self._lines.popleft()]
        size = len(taken[0])
        while self._lines and size + len(self._lines[0]) <= select.PIPE_BUF:
            taken.append(self._lines.popleft())
            size += len(taken[-1])
        self._bytes -= size
        if self._unsaid and not self._lines:
            taken.append(self._confession())
        return taken

    def _confession(self) -> _Line:
        count, self._unsaid = self._unsaid, 0
        line = {
            "message": "log lines were dropped",
            "level": "warning",
            "logger": "velro_auth.telemetry",
            "time": datetime.fromtimestamp(self._wall_clock(), UTC).isoformat().replace("+00:00", "Z"),
            "dropped": count,
        }
        confession = _Line(json.dumps(line).encode() + b"\n")
        confession.tells_of = count
        return confession

    def _put(self, lines: Sequence[_Line]) -> int:
        """Write all *lines*, however long it takes; return how many bytes, fewer where there is no room or reader."""
        data, written = b"".join(lines), 0
        try:
            fd = self._descriptor()
            if self._is_torn:
                write_on(fd, b"\n")
                self._is_torn = False
            while written < len(data):
                written += write_on(fd, data[written:])
        except OSError:
            # The next line that can be written must not continue this one.
            self._is_torn = data[written - 1 : written] != b"\n" if written else self._is_torn or lines[0].is_rest
        return written

    def _put_patiently(self, line: _Line) -> bool:
        data, told = bytes(line), self._unsaid
        try:
            fd = self._descriptor()
            # Once is enough: while lines are dropped, the next ones are not waited with.
            patience_s = 0.0 if told else PATIENCE_S
            if not wait_for_room(fd, patience_s):
                return False
            data = b"\n" * self._is_torn + (self._confession() if told else b"") + data
            while wait_for_room(fd, patience_s):
                # A pipe with room at all has room for so much.
                data = data[os.write(fd, data[: select.PIPE_BUF]) :]
                told, self._is_torn = 0, bool(data)
                if not data:
                    return True
        except OSError:
            pass
        # What was not said has to be said later.
        self._unsaid = self._unsaid or told
        return False

    def _descriptor(self) -> int:
        if self._fd is None:
            self._fd = self._open()
        return self._fd


class SinkHandler(logging.Handler):
    """Sends log records to a sink.

    Args:
        sink: Where to; stdout by default.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        super().__init__()
        self.sink: Final = sink or Sink()

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and have it written."""
        try:
            self.sink.write(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: a line that cannot be formatted stops nobody
            self.handleError(record)

    def flush(self) -> None:
        """Wait a little for the last lines; logging calls this when the process ends."""
        self.sink.flush()


def _wake(reference: weakref.ref[Sink]) -> None:
    if (sink := reference()) is not None:
        sink.after_fork()
