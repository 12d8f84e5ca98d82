"""Builds the npm package of ``clients/typescript``; the same sources give the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = Path("clients") / "typescript"
#: What is copied from there; ``files`` in package.json says which of it is packed.
PARTS: Final = ("package.json", "tsconfig.json", "README.md", "auth-by-gateway.mjs", "auth-by-gateway.d.mts", "src")


class CannotPack(Exception):
    """The package could not be built; the text says why."""


def pack(out: Path, *, root: Path = ROOT) -> Path:
    """Compile the sources, write the tarball into *out*, and return it.

    It is built in a folder of its own, so nothing left over from an earlier build gets in. npm gives every file the
    same time and owner.

    Raises:
        CannotPack: npm or the compiler is missing, or the sources do not compile.
    """
    compiler = root / PACKAGE / "node_modules" / ".bin" / "tsc"
    if shutil.which("npm") is None or not compiler.exists():
        raise CannotPack("npm is missing, or the compiler is: make setup installs it where npm is")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="velro-npm-") as folder:
        tree = Path(folder) / "package"
        tree.mkdir()
        for part in PARTS:
            source = root / PACKAGE / part
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tree / part)
        shutil.copyfile(root / "LICENSE", tree / "LICENSE")
        _run(str(compiler), "--project", str(tree), cwd=tree)
        # No script of the package runs: it is compiled already.
        name = _run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(out.resolve()), cwd=tree)
    return out / name.strip().splitlines()[-1]


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotPack(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
