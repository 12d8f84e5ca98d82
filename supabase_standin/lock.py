"""One owner per data folder: a file lock, which the system gives back however its owner ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from supabase_standin.problems import PostgresError


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold *data_dir* for this process.

    Raises:
        PostgresError: Another process holds it, or so does another object of this one.
    """
    path = data_dir / "lock"
    with _locked(path) as file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO:
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise PostgresError(_taken(file, path.parent)) from None
        if _is_still(path, file):
            return file
        file.close()  # its last owner removed the file between our two steps


def _is_still(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _taken(file: TextIO, data_dir: Path) -> str:
    file.seek(0)
    owner = file.read().strip() or "another"
    return f"A database already runs in {data_dir} (process {owner}): stop it first, or use another folder."
