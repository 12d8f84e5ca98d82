"""Builds the wheels and source archives of the three distributions into ``dist/``, and what belongs to them.

``constraints.txt`` holds the hashes of the wheels, and a bill of materials (CycloneDX) every package of the lock file.

Where npm is installed, it builds the npm package of the TypeScript client too.

The names are not published. The constraints file ties each name to a wheel and its SHA-256, so that pip never looks
for it in an index::

    make dist
    pip install --constraint dist/constraints.txt velro-auth velro-auth-standin

All are built from a copy of the files that git does not ignore: nothing left over from an earlier build gets in. The
same commit gives the same bytes, whatever the folder, the user's umask and the time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tools import npm_package
from tools.sbom import sbom

ROOT: Final = Path(__file__).resolve().parent.parent

#: Folders that hold the ``pyproject.toml`` of a distribution.
DISTRIBUTIONS: Final = (".", "supabase_standin", "clients/python")


#: Written into the copy, so that an installed package knows its commit (velro_auth/ops/cli/versions.py).
BUILD_FILE: Final = "velro_auth/build.json"

_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755


class BuildFailed(Exception):
    """A distribution could not be built."""


def build(out: Path, *, root: Path = ROOT) -> list[Path]:
    """Build the wheels into *out* and return them; a source archive of each lies beside it.

    Raises:
        BuildFailed: One could not be built; the text holds the build's output.
    """
    out.mkdir(parents=True, exist_ok=True)
    epoch = int(_git(root, "log", "-1", "--format=%ct").strip())
    with tempfile.TemporaryDirectory(prefix="velro-dist-") as folder:
        tree, made = Path(folder) / "tree", Path(folder) / "made"
        made.mkdir()
        copy_tracked(root, tree)
        commit = _git(root, "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=40").strip()
        (tree / BUILD_FILE).write_text(json.dumps({"commit": commit}) + "\n", "utf-8")
        _set_modes(tree)
        # Neither may depend on who builds: archives keep the rights of what is in them.
        env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
        command = [sys.executable, "-c", _BUILD, str(made)]
        for distribution in DISTRIBUTIONS:
            built = subprocess.run(
                command, cwd=tree / distribution, env=env, umask=0o022, check=False, capture_output=True, text=True
            )
            if built.returncode:
                raise BuildFailed(f"{distribution} was not built:\n{built.stdout}{built.stderr}")
        for archive in made.glob("*.tar.gz"):
            archive.write_bytes(repacked(archive.read_bytes(), epoch=epoch))
        for file in made.iterdir():
            shutil.copyfile(file, out / file.name)
        return sorted(out / file.name for file in made.glob("*.whl"))


#: The build backend that pyproject.toml names, asked directly: no package is fetched.
#: It changes the arguments of its process, so the folder is taken before.
_BUILD: Final = (
    "import sys; from setuptools import build_meta; out = sys.argv[1]; "
    "build_meta.build_sdist(out); build_meta.build_wheel(out)"
)


def repacked(archive: bytes, *, epoch: int) -> bytes:
    """Return a source archive with the same files, and nothing in it of who built it when.

    Args:
        archive: A ``.tar.gz``.
        epoch: The time of every file, in seconds since 1970.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        # Without a name and a time of its own.
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            content = old.extractfile(member)
            plain = tarfile.TarInfo(member.name)
            plain.size, plain.type, plain.mtime = member.size, member.type, epoch
            plain.mode = _FOLDER_MODE if member.isdir() else _FILE_MODE
            new.addfile(plain, content)
    return packed.getvalue()


def constraints(wheels: Iterable[Path]) -> str:
    """Return a constraints file: each wheel by its address, with its SHA-256."""
    lines = []
    for wheel in wheels:
        name = wheel.name.split("-")[0].replace("_", "-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name} @ {wheel.resolve().as_uri()}#sha256={digest}\n")
    return "".join(lines)


def copy_tracked(root: Path, tree: Path) -> None:
    """Copy every file of *root* that git does not ignore into *tree*."""
    for name in _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        source = root / name
        if name and source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, tree / name)


def _set_modes(tree: Path) -> None:
    for path in tree.rglob("*"):
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Build into ``dist/``."""
    parser = argparse.ArgumentParser(description="Build the wheels and source archives of the three distributions.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where they go (default: dist)")
    out: Path = parser.parse_args().out
    for pattern in ("*.whl", "*.tar.gz", "*.tgz", "*.cdx.json", "constraints.txt"):
        for old in out.glob(pattern):
            old.unlink()
    wheels = build(out)
    (out / "constraints.txt").write_text(constraints(wheels), "utf-8")
    bill = sbom(ROOT, made_at=int(_git(ROOT, "log", "-1", "--format=%ct").strip()))
    (out / f"velro-auth-{bill['metadata']['component']['version']}.cdx.json").write_text(
        json.dumps(bill, indent=1) + "\n", "utf-8"
    )
    try:
        npm_package.pack(out)
    except npm_package.CannotPack as error:
        print(f"The npm package was not built: {error}", file=sys.stderr)
        if "CI" in os.environ:
            sys.exit(1)
    for file in sorted(out.iterdir()):
        print(file)


if __name__ == "__main__":
    main()
