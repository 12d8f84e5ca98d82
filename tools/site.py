"""Builds and serves the documentation site: ``docs/`` and the pages of the top folder, by Zensical.

The pages are written for a plain view of the repository: their links lead to files beside them. A copy is prepared in
which every link stays inside the site. A linked file that is no page (a configuration, a folder) becomes a page that
shows it. Broken links and missing sections fail the build.

    make docs          # serves it on port 8009
    make docs-build    # builds it into site/
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent

#: Page of the top folder → its place in the site.
TOP_PAGES: Final = {
    "README.md": "project/readme-page.md",
    "THREAT_MODEL.md": "project/threat-model.md",
    "SECURITY.md": "project/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}

_LINK: Final = re.compile(r"(?P<before>\]\()(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
_FENCE: Final = re.compile(r"^ *(`{3,}|~{3,})")
_CODE: Final = re.compile(r"(`+[^`\n]+`+)")
_LANGUAGES: Final = {".yml": "yaml", ".yaml": "yaml", ".json": "json", ".mjs": "js", ".conf": "nginx", ".toml": "toml"}
_REFRESH_S: Final = 1.0


class BuildFailed(Exception):
    """The site could not be built; the text holds what the builder printed."""


class Pages:
    """Writes the prepared copy of all pages.

    Args:
        root: The checkout.
        out: Where the prepared copy goes; its ``docs`` folder holds the pages.
    """

    def __init__(self, root: Path, out: Path) -> None:
        self._root, self._out = root, out / "docs"
        docs = {path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md")}
        self._places = {name: name.removeprefix("docs/") for name in docs}
        self._places |= {name: place for name, place in TOP_PAGES.items() if (root / name).is_file()}
        self._shown: dict[str, str] = {}

    def write(self) -> None:
        """Write every page, every picture, and the pages that show linked files."""
        self._shown.clear()
        for path in (self._root / "docs").rglob("*"):
            if path.is_file() and path.suffix != ".md":
                self._put(path.relative_to(self._root / "docs").as_posix(), path.read_bytes())
        for name, place in self._places.items():
            self._put(place, self._page(name, place).encode("utf-8"))
        for name, place in list(self._shown.items()):
            self._put(place, self._shown_page(self._root / name, place).encode("utf-8"))

    def _put(self, place: str, content: bytes) -> None:
        target = self._out / place
        # A file that is the same is not written again: the server would build everything anew.
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def _page(self, name: str, place: str) -> str:
        folder = (self._root / name).parent

        def moved(found: re.Match[str]) -> str:
            target = found["target"]
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                return found[0]
            goal = self._place_of((folder / target).resolve())
            if goal is None:
                return found[0]
            return f"{found['before']}{_relative(goal, place)}{found['anchor'] or ''}{found['after']}"

        return "".join(_outside_code((self._root / name).read_text("utf-8"), lambda text: _LINK.sub(moved, text)))

    def _place_of(self, path: Path) -> str | None:
        """Return where the site has that file or folder of the checkout; None if there is none."""
        if not path.is_relative_to(self._root) or not path.exists():
            return None
        name = path.relative_to(self._root).as_posix()
        if name in self._places:
            return self._places[name]
        if path.is_file() and name.startswith("docs/"):
            return name.removeprefix("docs/")
        self._shown[name] = f"project/files/{name}.md"
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if file.is_file():
                    self._shown[f"{name}/{file.name}"] = f"project/files/{name}/{file.name}.md"
        return self._shown[name]

    def _shown_page(self, path: Path, place: str) -> str:
        head = f"---\nsearch:\n  exclude: true\n---\n\n# {path.relative_to(self._root).as_posix()}\n\n"
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.is_file()]
            places = [f"project/files/{file.relative_to(self._root).as_posix()}.md" for file in files]
            lines = (f"* [{file.name}]({_relative(goal, place)})" for file, goal in zip(files, places, strict=True))
            return head + "\n".join(lines) + "\n"
        return head + f"````{_LANGUAGES.get(path.suffix, '')}\n{path.read_text('utf-8').rstrip()}\n````\n"


def _outside_code(text: str, change: Callable[[str], str]) -> Iterator[str]:
    """Yield *text* line by line, changed where it is not code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if fence:
            yield line
            fence = "" if found and found[1].startswith(fence) else fence
        elif found:
            fence = found[1]
            yield line
        else:
            # Links may have code as their text, so only code that holds a link itself is left alone.
            parts = _CODE.split(line)
            yield line if any("](" in part for part in parts[1::2]) else change(line)


def _relative(goal: str, page: str) -> str:
    return PurePosixPath(os.path.relpath(goal, PurePosixPath(page).parent)).as_posix()


def prepare(folder: Path, *, root: Path = ROOT) -> Pages:
    """Write the prepared copy and the builder's configuration into *folder*."""
    pages = Pages(root, folder)
    pages.write()
    shutil.copyfile(root / "mkdocs.yml", folder / "mkdocs.yml")
    return pages


def in_navigation(configuration: Path) -> set[str]:
    """Return every page that the navigation names."""

    def names(entry: object) -> Iterator[str]:
        match entry:
            case str():
                yield entry
            case list():
                for one in entry:
                    yield from names(one)
            case dict():
                for one in entry.values():
                    yield from names(one)

    text = re.sub(r"!!python\S*", "", configuration.read_text("utf-8"))
    return set(names(yaml.safe_load(text)["nav"]))


def build(out: Path, *, root: Path = ROOT) -> None:
    """Build the site into *out*, which is emptied first.

    Raises:
        BuildFailed: A link or a section is missing, or the builder is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="velro-site-") as temporary:
        folder = Path(temporary)
        prepare(folder, root=root)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(folder / "mkdocs.yml")]
        built = subprocess.run(
            command, cwd=folder, env={**os.environ, "NO_COLOR": "1"}, check=False, capture_output=True, text=True
        )
        if built.returncode:
            # It draws in colours also without a terminal, and ends with its own traceback.
            text = re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr)
            raise BuildFailed(text.partition("Traceback (most recent call last)")[0].rstrip())
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "site", out)


def serve(address: str, *, root: Path = ROOT) -> int:
    """Serve the site until Ctrl-C, and follow changes of the pages; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="velro-site-") as temporary:
        folder, over = Path(temporary), threading.Event()
        pages = prepare(folder, root=root)

        def follow() -> None:
            while not over.wait(_REFRESH_S):
                pages.write()

        threading.Thread(target=follow, daemon=True).start()
        command = [sys.executable, "-m", "zensical", "serve", "-f", str(folder / "mkdocs.yml"), "-a", address]
        try:
            return subprocess.run(command, cwd=folder, check=False).returncode
        except KeyboardInterrupt:
            return 0
        finally:
            over.set()


def main() -> int:
    """Build or serve the site; return the exit status."""
    parser = argparse.ArgumentParser(description="Build or serve the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="where it is built (default: site)")
    parser.add_argument("--serve", metavar="HOST:PORT", help="serve it there instead, until Ctrl-C")
    asked = parser.parse_args()
    if asked.serve:
        return serve(asked.serve)
    try:
        build(asked.out)
    except BuildFailed as error:
        print(f"The site was not built:\n{error}", file=sys.stderr)
        return 1
    print(f"Built {asked.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
