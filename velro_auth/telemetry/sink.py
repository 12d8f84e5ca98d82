"""Writes lines to a descriptor: at once where that cannot block, else through a bounded queue and one thread."""

from __future__ import annotations

import itertools
import json
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from velro_auth.background import after_fork

#: With one line per request this is 1.5 minutes at 100 requests/s, and a few megabytes.
MAX_LINES: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024

#: How long the process that built a sink waits for room before it drops a line, in seconds.
MAX_WAIT_S: Final = 0.05

#: For so long after a line, further lines wait and are then written together, in seconds. To write a line and to wake
#: its reader, or the thread of the sink, takes longer than all else about a token check (measured).
GATHER_S: Final = 0.02

#: Lines that the thread writes into a regular file in one piece. Other processes append theirs before or after it.
FILE_PIECE_BYTES: Final = 64 * 1024

#: How long the end of a process waits for its last lines, in seconds.
FLUSH_S: Final = 2.0

_STDOUT: Final = 1

#: Makes ``pwritev`` fail instead of waiting. Linux has it; pipes and sockets support it since 6.4.
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


def _ignore_loss() -> None:
    """Do nothing about a lost line: the sink counts it."""


class _Line(bytes):
    """One line, or the rest of one."""

    #: Called when it could not be written.
    on_lost: Callable[[], None] = staticmethod(_ignore_loss)
    #: Whether its beginning is already written.
    is_rest: bool = False
    #: How many dropped lines it reports; 0 for any other line.
    reports: int = 0


class Sink:
    """Writes lines to a descriptor.

    In a forked process (a worker) the thread that has a line writes it, if the system accepts it at once and no line
    waits or was written a moment ago. Otherwise the line is queued for a thread, which lets lines gather. No caller
    waits; lines beyond the bounds are dropped and counted. The process that built the sink (gunicorn's master, a
    command) has no threads and few lines: it writes itself, and drops a line that cannot be written within
    ``MAX_WAIT_S``. One line reports the dropped lines as soon as there is room.

    Args:
        open_descriptor: Opens the output; called once in each process, with the first line.
        max_lines: Bound of the queue in lines.
        max_bytes: Bound of the queue in bytes.
        gather_s: For so long lines may wait for others, in seconds.
        wall_clock: Unix time in seconds.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        open_descriptor: Callable[[], int] = lambda: _STDOUT,
        *,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        gather_s: float = 0.0,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_descriptor
        self._max_lines, self._max_bytes, self._gather_s = max_lines, max_bytes, gather_s
        self._wall_clock, self._clock = wall_clock, clock
        self._is_forked = False
        self._begin()
        after_fork(self)

    def _begin(self) -> None:
        #: Lines that were dropped in this process.
        self.dropped = 0
        self._unreported = 0
        self._fd: int | None = None
        self._piece_bytes = select.PIPE_BUF
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        self._is_writing = False
        # The last line in the output is unfinished.
        self._is_torn = False
        self._can_write_at_once = bool(_NOWAIT)
        self._next_at_once_s = 0.0
        # The thread lets lines gather. It need not be woken for each.
        self._is_gathering = False
        self._is_urgent = False
        self._thread: threading.Thread | None = None
        # Reentrant: a signal handler may log while its thread is in here.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def after_fork(self) -> None:
        """Leave the parent's lines to the parent."""
        self._is_forked = True
        self._begin()

    def write(self, line: str, on_lost: Callable[[], None] = _ignore_loss) -> bool:
        """Accept one line, without its end; return whether it was accepted.

        Args:
            line: The line.
            on_lost: Called from another thread when the line was accepted and could not be written: the disk is full.
        """
        data = _Line(line.encode("utf-8", "backslashreplace") + b"\n")
        data.on_lost = on_lost
        with self._lock:
            accepted = self._queue(data) if self._is_forked else self._write_waiting(data)
            if not accepted:
                self.dropped += 1
                self._unreported += 1
        return accepted

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until all lines are written, at most *within_s*; return whether they are."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, within_s)

    def _queue(self, data: _Line) -> bool:
        if len(self._lines) >= self._max_lines or self._bytes + len(data) > self._max_bytes:
            return False
        self._start()
        if not self._can_write_at_once or self._lines or self._is_writing or self._unreported or self._is_torn:
            self._lines.append(data)
        elif not self._gather_s:
            data = self._write_at_once(data)
        elif (now_s := self._clock()) < self._next_at_once_s:
            self._lines.append(data)
        else:
            self._next_at_once_s = now_s + self._gather_s
            data = self._write_at_once(data)
        self._bytes += len(data)
        if self._lines and not self._is_writing and not self._is_gathering:
            self._changed.notify_all()
        return True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sink", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # The system is out of threads: the next line tries again.
                self._thread = None

    def _write_at_once(self, line: _Line) -> _Line:
        """Write what needs no waiting (to a pipe, all or nothing up to ``PIPE_BUF``); queue and return the rest."""
        # A signal handler may log in between, and must not write into the middle of this line.
        self._is_writing = True
        rest = line
        try:
            if written := os.pwritev(self._descriptor(), [line], -1, _NOWAIT):
                rest = _Line(line[written:])
                rest.on_lost, rest.is_rest = line.on_lost, True
        except BlockingIOError:
            pass
        except OSError:
            # Not this kind of descriptor, or an older system. If something worse is wrong, the thread meets it again.
            self._can_write_at_once = False
        finally:
            if rest:
                self._lines.appendleft(rest)
            self._is_writing = False
        return rest

    def _run(self) -> None:
        is_rest = False
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                if not is_rest:
                    self._gather()
                self._is_writing = True
                batch = self._next_batch()
                is_rest = bool(self._lines)
            written = self._write_all(batch)
            complete = sum(end <= written for end in itertools.accumulate(map(len, batch)))
            for line in (lost := batch[complete:]):
                line.on_lost()
            with self._changed:
                self.dropped += sum(not line.reports for line in lost)
                self._unreported += sum(line.reports or 1 for line in lost)

    def _gather(self) -> None:
        """Wait a moment for further lines, unless a caller waits for the lines that are there."""
        if self._gather_s and len(self._lines) < self._max_lines // 2:
            self._is_gathering = True
            self._changed.wait_for(lambda: self._is_urgent, self._gather_s)
            self._is_gathering = self._is_urgent = False

    def _next_batch(self) -> list[_Line]:
        """Take as many lines as the system writes in one piece: more could mix with another worker's lines."""
        batch = [self._lines.popleft()]
        size = len(batch[0])
        while self._lines and size + len(self._lines[0]) <= self._piece_bytes:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        self._bytes -= size
        if self._unreported and not self._lines:
            batch.append(self._dropped_lines_notice())
        return batch

    def _dropped_lines_notice(self) -> _Line:
        count, self._unreported = self._unreported, 0
        line = {
            "message": "log lines were dropped",
            "level": "warning",
            "logger": "velro_auth.telemetry",
            "time": datetime.fromtimestamp(self._wall_clock(), UTC).isoformat().replace("+00:00", "Z"),
            "dropped": count,
        }
        notice = _Line(json.dumps(line).encode() + b"\n")
        notice.reports = count
        return notice

    def _write_all(self, lines: Sequence[_Line]) -> int:
        """Write all *lines*, however long it takes; return the bytes written: fewer without room or reader."""
        data, written = b"".join(lines), 0
        try:
            fd = self._descriptor()
            if self._is_torn:
                _write_some(fd, b"\n")
                self._is_torn = False
            while written < len(data):
                written += _write_some(fd, data[written:])
        except OSError:
            # The next line must not continue an unfinished one.
            self._is_torn = data[written - 1 : written] != b"\n" if written else self._is_torn or lines[0].is_rest
        return written

    def _write_waiting(self, line: _Line) -> bool:
        """Write one line in this thread, waiting for room at most ``MAX_WAIT_S``; return whether it was written."""
        data, unreported = bytes(line), self._unreported
        try:
            fd = self._descriptor()
            # After a dropped line the next ones do not wait again.
            wait_s = 0.0 if unreported else MAX_WAIT_S
            if not _wait_for_room(fd, wait_s):
                return False
            data = b"\n" * self._is_torn + (self._dropped_lines_notice() if unreported else b"") + data
            while _wait_for_room(fd, wait_s):
                # A pipe that has room has room for ``PIPE_BUF``.
                data = data[os.write(fd, data[: select.PIPE_BUF]) :]
                unreported, self._is_torn = 0, bool(data)
                if not data:
                    return True
        except OSError:
            pass
        # The notice was not written, so the count is reported later.
        self._unreported = self._unreported or unreported
        return False

    def _descriptor(self) -> int:
        if self._fd is None:
            self._fd = self._open()
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                self._piece_bytes = FILE_PIECE_BYTES
        return self._fd


def _write_some(fd: int, data: bytes) -> int:
    """Write some of *data*, however long it takes; return how many bytes. Raises OSError: disk full, no reader."""
    while True:
        # Another process may have made the shared descriptor non-blocking.
        try:
            return os.write(fd, data)
        except BlockingIOError:
            _wait_for_room(fd, None)


def _wait_for_room(fd: int, timeout_s: float | None) -> bool:
    """Wait until the descriptor is writable, at most *timeout_s*; return whether it is."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
