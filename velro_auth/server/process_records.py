"""Records of the running processes of a service, for ``velro-auth reload``.

A record is a file that its process keeps locked. The operating system releases the lock when the process ends, in any
way, so a record without a lock is stale, and the process number in it may belong to another program.

The master records its number, ports, directory and the result of the last reload; each worker records which settings
it uses. When a record cannot be written, the service logs a warning and runs without.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from velro_auth.config.reload import Outcome

logger = logging.getLogger("velro_auth.server.process_records")

MASTER: Final = "master-"
WORKER: Final = "worker-"

#: Only the owner may write: the records decide which process gets a signal.
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_SUFFIX: Final = ".json"


def folder_of(setting: str) -> Path:
    """Return the folder of the records: ``AUTH_RUN_DIR``, or this user's folder below the temporary folder."""
    return Path(setting) if setting else Path(tempfile.gettempdir()) / f"velro-auth-{os.geteuid()}"


def working_directory() -> str:
    """Return the directory that this process runs in; an empty string when it was deleted."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


class ProcessFile:
    """The record of one process.

    Args:
        folder: Where it is; created when it does not exist.
        name: Name of the file, without the suffix.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{_SUFFIX}"
        self._descriptor: int | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the record atomically. A reader gets the old one or the new one, and both are locked.

        Raises:
            OSError: The folder is not writable, or belongs to another user.
        """
        _require_own(self._folder)
        draft = self._folder / f".{self._path.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, json.dumps(record).encode())
            draft.replace(self._path)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        self.close()
        self._descriptor = descriptor

    def close(self) -> None:
        """Release the lock. Also called in a forked child, which must not keep its parent's record locked."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Delete the record, if there is one."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.close()


def running(folder: Path, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield the records of running processes whose file names start with *prefix*; delete stale ones.

    Raises:
        OSError: The folder belongs to another user.
    """
    if not folder.is_dir():
        return
    if os.geteuid() != 0:
        _require_own(folder)
    for path in sorted(folder.glob(f"{prefix}*{_SUFFIX}")):
        with contextlib.suppress(OSError, ValueError):
            if (record := _read(path)) is not None:
                yield record


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return a record; None for a stale one, which is deleted.

    Raises:
        OSError: There is no such file.
        ValueError: The file contains no record.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                record = json.load(file)
                return record if isinstance(record, dict) and _is_owner(descriptor, record.get("pid")) else None
            # A file that was replaced since it was opened is unlocked, too, but not stale.
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                path.unlink()
                return None


def _is_owner(descriptor: int, pid: Any) -> bool:
    """Tell whether file and process belong to the same user, as far as the system can tell."""
    try:
        return Path(f"/proc/{int(pid)}").stat().st_uid == os.fstat(descriptor).st_uid
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    except (TypeError, ValueError):
        return False


def _require_own(folder: Path) -> None:
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} must be a folder of this user that no other can write to: set AUTH_RUN_DIR")


class ProcessRecords:
    """The records of one service; created before the fork and copied into each worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: ProcessFile | None = None
        self._master = 0
        self._reloads = 0

    def record_master(self, ports: list[int], outcome: Outcome | None = None) -> None:
        """Record this process as the master, with the result of the last reload."""
        self._master = os.getpid()
        self._file = self._file or ProcessFile(self._folder, f"{MASTER}{self._master}")
        self._write({
            "pid": self._master,
            "ports": ports,
            "directory": working_directory(),
            "reloads": self._reloads,
            "outcome": dataclasses.asdict(outcome) if outcome else None,
        })  # fmt: skip

    def around(self, reload: Callable[[], Outcome], ports: list[int]) -> Callable[[], None]:
        """Return the signal handler: it reloads, and records the result."""

        def handle() -> None:
            outcome = reload()
            self._reloads += 1
            self.record_master(ports, outcome)

        return handle

    def has_forked(self) -> None:
        """Close the master's record; call this in a worker."""
        if self._file is not None:
            self._file.close()
        self._file = ProcessFile(self._folder, f"{WORKER}{self._master}-{os.getpid()}")

    def record_worker(self, number: int, *, is_taken: bool) -> None:
        """Record in a worker which settings it uses."""
        self._write({"pid": os.getpid(), "master": self._master, "number": number, "is_taken": is_taken})

    def remove(self) -> None:
        """Delete the record of this process."""
        if self._file is not None:
            self._file.remove()

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(record)
        except OSError as error:
            logger.warning("velro-auth reload will not find this process", extra={"reason": str(error)})
            self._file.close()


def ports_of(listeners: Any) -> list[int]:
    """Return the ports of gunicorn's listeners; Unix sockets have none."""
    names = [listener.sock.getsockname() for listener in listeners]
    return sorted({name[1] for name in names if isinstance(name, tuple)})
