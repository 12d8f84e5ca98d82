"""The file of the monitor: one JSON object per line, appended at once, so that a crash loses at most one line."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from velro_auth.ops.verdict import NotMeasured

SCHEMA: Final = 1

_PATTERN: Final = "observe_*.jsonl"
_MAX_LINE_BYTES: Final = 64 * 1024


class ObservationFile:
    """Appends records to a file. When the file cannot be written, it drops them and counts them.

    Each line is one ``write`` system call, so a killed process leaves complete lines, except perhaps the last one. A
    line that was cut off by a full disk is ended before the next one.

    *warn* is called with a message when the file cannot be written, and when it can again.
    """

    def __init__(self, path: Path, *, warn: Callable[[str], None]) -> None:
        self.path: Final = path
        #: Number of dropped lines.
        self.dropped = 0
        self._warn = warn
        self._file = -1
        self._is_torn = False
        self._is_failing = False

    def open(self) -> None:
        """Open the file, or warn that it cannot be opened.

        Raises:
            NotMeasured: Another monitor writes to it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self._fail(error)
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise NotMeasured(f"{self.path} is being written by another monitor") from error
        size = os.fstat(self._file).st_size
        self._is_torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            self._append(b"\n" + line if self._is_torn else line)
        except OSError as error:
            self.dropped += 1
            self._fail(error)
            return
        self._is_torn = False
        if self._is_failing:
            self._is_failing = False
            self._warn(f"{self.path} can be written again; {self.dropped} lines are missing.")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: bytes) -> None:
        if self._file < 0:
            raise OSError("it could not be opened")
        if os.write(self._file, line) < len(line):
            self._is_torn = True
            raise OSError("the disk is full")

    def _fail(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._warn(f"{self.path} cannot be written ({error.strerror or error}): the monitor continues in memory.")


def read(path: Path, *, bad: Callable[[], object] = lambda: None) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, one at a time.

    *bad* is called for each line that is no JSON object, such as one cut off by a crash.

    Raises:
        NotMeasured: The file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                record = _parsed(line)
                if record is None:
                    bad()
                else:
                    yield record
    except OSError as error:
        raise NotMeasured(f"{path} cannot be read: {error.strerror}") from error


def new_path(folder: Path, now: dt.datetime) -> Path:
    """Return the path of a new file; the time in its name is later than *now* when that name exists."""
    while True:
        path = folder / f"observe_{now:%Y%m%d_%H%M%S}.jsonl"
        try:
            path.lstat()
        except OSError:
            # Not found, or the folder is not accessible: then ``open`` warns about it.
            return path
        now += dt.timedelta(seconds=1)


def latest(folder: Path) -> Path | None:
    """Return the newest file in *folder*, by its name; None without any."""
    return max(folder.glob(_PATTERN), default=None)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
