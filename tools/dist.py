"""Builds the wheels of the three distributions into ``dist/``, with a constraints file that holds their hashes.

Where npm is installed, it builds the npm package of the TypeScript client too.

The names are not published. The constraints file ties each name to a wheel and its SHA-256, so that pip never looks
for it in an index::

    make dist
    pip install --constraint dist/constraints.txt velro-auth velro-auth-standin

The wheels are built from a copy of the files that git does not ignore: nothing left over from an earlier build gets in.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tools import npm_package

ROOT: Final = Path(__file__).resolve().parent.parent

#: Folders that hold the ``pyproject.toml`` of a distribution.
DISTRIBUTIONS: Final = (".", "supabase_standin", "clients/python")


class BuildFailed(Exception):
    """A wheel could not be built."""


def build(out: Path, *, root: Path = ROOT) -> list[Path]:
    """Build the wheels into *out* and return them.

    Raises:
        BuildFailed: A wheel could not be built; the text holds the build's output.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="velro-dist-") as folder:
        tree = Path(folder) / "tree"
        _copy_tracked(root, tree)
        env = {**os.environ, "SOURCE_DATE_EPOCH": _git(root, "log", "-1", "--format=%ct").strip()}
        before = set(out.glob("*.whl"))
        command = [sys.executable, "-c", _BUILD, str(out.resolve())]
        for distribution in DISTRIBUTIONS:
            built = subprocess.run(
                command, cwd=tree / distribution, env=env, check=False, capture_output=True, text=True
            )
            if built.returncode:
                raise BuildFailed(f"{distribution} was not built:\n{built.stdout}{built.stderr}")
    return sorted(set(out.glob("*.whl")) - before)


#: The build backend that pyproject.toml names, asked directly: no package is fetched.
_BUILD: Final = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def constraints(wheels: Iterable[Path]) -> str:
    """Return a constraints file: each wheel by its address, with its SHA-256."""
    lines = []
    for wheel in wheels:
        name = wheel.name.split("-")[0].replace("_", "-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name} @ {wheel.resolve().as_uri()}#sha256={digest}\n")
    return "".join(lines)


def _copy_tracked(root: Path, tree: Path) -> None:
    for name in _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        source = root / name
        if name and source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, tree / name)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Build into ``dist/``."""
    parser = argparse.ArgumentParser(description="Build the wheels of the three distributions.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where they go (default: dist)")
    out: Path = parser.parse_args().out
    for old in [*out.glob("*.whl"), *out.glob("*.tgz"), *out.glob("constraints.txt")]:
        old.unlink()
    wheels = build(out)
    (out / "constraints.txt").write_text(constraints(wheels), "utf-8")
    for wheel in wheels:
        print(wheel)
    try:
        print(npm_package.pack(out))
    except npm_package.CannotPack as error:
        print(f"The npm package was not built: {error}", file=sys.stderr)
        if "CI" in os.environ:
            sys.exit(1)


if __name__ == "__main__":
    main()
