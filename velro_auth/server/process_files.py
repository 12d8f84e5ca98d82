"""Files in which running processes describe themselves, so that ``velro-auth reload`` finds them and no other process.

A process holds its file locked. The system releases the lock when the process ends, in whatever way: a file that can
be locked is stale, and its process id may belong to another program.

The master writes its process id, its ports and the result of the last reload; a worker writes which settings it uses.
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

logger = logging.getLogger("velro_auth.server.process_files")

MASTER: Final = "master-"
WORKER: Final = "worker-"

#: For the owner only: a user who can write there can have signals sent.
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_ENDING: Final = ".json"


def folder_of(setting: str) -> Path:
    """Return the folder of the files: ``AUTH_RUN_DIR``, or this user's below the system's temporary folder."""
    return Path(setting) if setting else Path(tempfile.gettempdir()) / f"velro-auth-{os.geteuid()}"


class ProcessFile:
    """The file of one process.

    Args:
        folder: Its folder, created when it is missing.
        name: Its name without the extension.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{_ENDING}"
        self._held: int | None = None

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace the file's content. A reader sees the old file or the new one, and both are locked.

        Raises:
            OSError: The folder cannot be written to, or belongs to another user.
        """
        _require_own(self._folder)
        draft = self._folder / f".{self._path.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, json.dumps(facts).encode())
            draft.replace(self._path)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        self.close()
        self._held = descriptor

    def close(self) -> None:
        """Close the file. A child does so after a fork: it must not hold the lock when its parent has ended."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def remove(self) -> None:
        """Delete the file, if there is one."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.close()


def running_processes(folder: Path, beginning: str) -> Iterator[Mapping[str, Any]]:
    """Yield the content of the files of running processes whose names begin like this. Stale files are deleted.

    Raises:
        OSError: The folder belongs to another user.
    """
    if not folder.is_dir():
        return
    if os.geteuid() != 0:
        _require_own(folder)
    for path in sorted(folder.glob(f"{beginning}*{_ENDING}")):
        with contextlib.suppress(OSError, ValueError):
            if (facts := _read(path)) is not None:
                yield facts


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return a file's content; None for a stale file, which is deleted.

    Raises:
        OSError: There is no such file.
        ValueError: Its content is not ours.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                facts = json.load(file)
                return facts if isinstance(facts, dict) and _is_owner(descriptor, facts.get("pid")) else None
            # A file that its process has just replaced is unlocked too, and proves nothing.
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                path.unlink()
                return None


def _is_owner(descriptor: int, pid: Any) -> bool:
    """Whether the file belongs to the user of the process that it names, as far as the system tells the user."""
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
    """The files of one instance; made before the fork, which copies it into each worker.

    Args:
        folder: Their folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: ProcessFile | None = None
        self._master = 0
        self._reloads = 0

    def write_master(self, ports: list[int], outcome: Outcome | None = None) -> None:
        """Write that this process takes the signal, and the result of the last reload."""
        self._master = os.getpid()
        self._file = self._file or ProcessFile(self._folder, f"{MASTER}{self._master}")
        result = dataclasses.asdict(outcome) if outcome else None
        self._write({"pid": self._master, "ports": ports, "reloads": self._reloads, "outcome": result})

    def around(self, reload: Callable[[], Outcome], ports: list[int]) -> Callable[[], None]:
        """Return the handler of the signal: it reloads, and writes the result."""

        def handle() -> None:
            outcome = reload()
            self._reloads += 1
            self.write_master(ports, outcome)

        return handle

    def after_fork(self) -> None:
        """Give up the master's file; call it in a worker."""
        if self._file is not None:
            self._file.close()
        self._file = ProcessFile(self._folder, f"{WORKER}{self._master}-{os.getpid()}")

    def write_worker(self, number: int, *, is_taken: bool) -> None:
        """Write, in a worker, which settings it uses."""
        self._write({"pid": os.getpid(), "master": self._master, "number": number, "is_taken": is_taken})

    def remove(self) -> None:
        """Delete this process's file."""
        if self._file is not None:
            self._file.remove()

    def _write(self, facts: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(facts)
        except OSError as error:
            logger.warning("velro-auth reload will not find this process", extra={"reason": str(error)})
            self._file.close()


def ports_of(listeners: Any) -> list[int]:
    """Return the ports of gunicorn's listeners; a Unix socket has none."""
    names = [listener.sock.getsockname() for listener in listeners]
    return sorted({name[1] for name in names if isinstance(name, tuple)})
