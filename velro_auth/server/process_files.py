"""Notes that running processes keep in a folder, so that a command finds a process of ours and no other.

A note is a file that its process holds locked. The system gives up the lock when the process ends, whichever way it
ends: a note that can be locked is stale, and the number in it may belong to a stranger by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

#: For the owner alone: who can write there can have signals sent.
_FOLDER_MODE: Final = 0o700
_NOTE_MODE: Final = 0o600
_ENDING: Final = ".json"


def folder_of(setting: str) -> Path:
    """Return the folder of notes: the one of ``AUTH_RUN_DIR``, or this user's below the system's temporary folder."""
    return Path(setting) if setting else Path(tempfile.gettempdir()) / f"velro-auth-{os.geteuid()}"


class ProcessFile:
    """One process's note.

    Args:
        folder: Where it is; made when it is missing.
        name: What the file is called, without its ending.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{_ENDING}"
        self._held: int | None = None

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replace what the note says. A reader sees the old one or the new one, and either is locked.

        Raises:
            OSError: The folder cannot be written to, or belongs to another user.
        """
        _require_own(self._folder)
        draft = self._folder / f".{self._path.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _NOTE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, json.dumps(facts).encode())
            draft.replace(self._path)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        self.let_go()
        self._held = descriptor

    def let_go(self) -> None:
        """Close the file. Called after a fork too: a child must not hold its parent's note beyond the parent's end."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def remove(self) -> None:
        """Take the note away; without one, do nothing."""
        if self._held is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self.let_go()


def notes(folder: Path, beginning: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the notes of running processes say whose names begin like this. Stale ones are taken away.

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
    """Return what a note says; None for a stale one, which is taken away.

    Raises:
        OSError: There is none.
        ValueError: It is no note of ours.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                facts = json.load(file)
                return facts if isinstance(facts, dict) and _is_owner(descriptor, facts.get("pid")) else None
            # A file that its process has just replaced is free too, and says nothing.
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                path.unlink()
                return None


def _is_owner(descriptor: int, pid: Any) -> bool:
    """Tell whether the note was written by the user whose process it names, as far as the system says whose that is."""
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
