"""What the processes of a running service note of themselves, for ``velro-auth reload``.

The master notes its number, its ports and what came of the last reload; each worker which settings it follows. A note
that cannot be written is a warning in the log: the service serves without.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from velro_auth.config.reload import Outcome
from velro_auth.server.process_files import ProcessFile

logger = logging.getLogger("velro_auth.server.process_records")

MASTER: Final = "master-"
WORKER: Final = "worker-"


class ProcessRecords:
    """The notes of one instance; made before the fork, and copied into each worker by it.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._note: ProcessFile | None = None
        self._master = 0
        self._reloads = 0

    def note_master(self, ports: list[int], outcome: Outcome | None = None) -> None:
        """Note this process as the one that takes the signal, and what came of it the last time."""
        self._master = os.getpid()
        self._note = self._note or ProcessFile(self._folder, f"{MASTER}{self._master}")
        came = dataclasses.asdict(outcome) if outcome else None
        self._write({"pid": self._master, "ports": ports, "reloads": self._reloads, "outcome": came})

    def around(self, reload: Callable[[], Outcome], ports: list[int]) -> Callable[[], None]:
        """Return what answers the signal: it reloads, and notes what came of it."""

        def answer() -> None:
            outcome = reload()
            self._reloads += 1
            self.note_master(ports, outcome)

        return answer

    def has_forked(self) -> None:
        """Leave the master's note to the master; call it in a worker."""
        if self._note is not None:
            self._note.let_go()
        self._note = ProcessFile(self._folder, f"{WORKER}{self._master}-{os.getpid()}")

    def note_worker(self, number: int, *, is_taken: bool) -> None:
        """Note in a worker which settings it follows."""
        self._write({"pid": os.getpid(), "master": self._master, "number": number, "is_taken": is_taken})

    def remove(self) -> None:
        """Take this process's note away."""
        if self._note is not None:
            self._note.remove()

    def _write(self, facts: Mapping[str, Any]) -> None:
        if self._note is None:
            return
        try:
            self._note.write(facts)
        except OSError as error:
            logger.warning("velro-auth reload will not find this process", extra={"reason": str(error)})
            self._note.let_go()


def ports_of(listeners: Any) -> list[int]:
    """Return the ports of gunicorn's listeners; a Unix socket has none."""
    names = [listener.sock.getsockname() for listener in listeners]
    return sorted({name[1] for name in names if isinstance(name, tuple)})
