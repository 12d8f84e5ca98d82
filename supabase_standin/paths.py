"""Where a cluster's files lie, also when root has to hand them to another account.

The caller names one folder. Below it, or below ``/var/lib/velro-auth`` where the account that runs
PostgreSQL cannot enter it, are::

    pgdata/        the database cluster
    password       of the roles, mode 0600
    run/           the socket, mode 0700
    postgres.log   what the server said since its last start
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supabase_standin.accounts import Account
from supabase_standin.problems import PostgresError

#: The longest path of a unix socket: 107 bytes on Linux, 103 on macOS.
SOCKET_PATH_LIMIT: Final = 103
SOCKET_NAME: Final = ".s.PGSQL.5432"
SHORT_PREFIX: Final = "velro-pg-"
#: In the caller's folder: where the cluster lies instead.
POINTER: Final = "cluster-lies-in"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders and files of one cluster."""

    home: Path

    @property
    def pgdata(self) -> Path:
        """The cluster itself."""
        return self.home / "pgdata"

    @property
    def password_file(self) -> Path:
        """The one password of all roles, readable for its owner."""
        return self.home / "password"

    @property
    def log(self) -> Path:
        """What the server said since its last start."""
        return self.home / "postgres.log"

    def make_socket_dir(self, account: Account) -> Path:
        """Return a fresh private folder whose path is short enough for a socket."""
        folder = self.home / "run"
        if len(os.fsencode(folder / SOCKET_NAME)) > SOCKET_PATH_LIMIT:
            # mkdtemp makes it 0700 and ours, even if other users write to /tmp.
            folder = Path(tempfile.mkdtemp(prefix=SHORT_PREFIX, dir="/tmp"))
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        account.own(folder)
        return folder


def choose(data_dir: Path, account: Account, *, shared_place: Path) -> Places:
    """Return where the cluster of *data_dir* lies, making the folders.

    Raises:
        PostgresError: A folder cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if account.is_lent else 0o700)
        return Places(home=_home(data_dir, account, shared_place))
    except OSError as error:
        raise PostgresError(
            f"{data_dir} cannot be used for a database ({error.strerror}): choose another folder."
        ) from error


def _home(data_dir: Path, account: Account, shared_place: Path) -> Path:
    if not account.is_lent:
        return data_dir
    pointer = data_dir / POINTER
    if not pointer.exists() and account.can_enter(data_dir):
        return data_dir
    key = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    home = Path(pointer.read_text().strip()) if pointer.exists() else shared_place / key
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    if not account.can_enter(home):
        raise PostgresError(f"The account {account.name} cannot enter {home}: choose another data folder.")
    pointer.write_text(f"{home}\n")
    return home
