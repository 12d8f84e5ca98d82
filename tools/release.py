"""Makes a release: the version in every distribution, the changelog, a commit and an annotated tag.

``make release VERSION=0.2.0 DRY_RUN=1`` says what would happen and changes nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

_VERSION: Final = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_UNRELEASED: Final = "## Unreleased\n"

#: Where the version stands: file → the line that holds it.
VERSION_LINES: Final = {
    "velro_auth/__init__.py": re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE),
    "supabase_standin/pyproject.toml": re.compile(r'^version = "([^"]+)"$', re.MULTILINE),
    "clients/python/pyproject.toml": re.compile(r'^version = "([^"]+)"$', re.MULTILINE),
    "clients/typescript/package.json": re.compile(r'^  "version": "([^"]+)",$', re.MULTILINE),
    "deploy/helm/velro-auth/Chart.yaml": re.compile(r'^appVersion: "([^"]+)"$', re.MULTILINE),
}


class CannotRelease(Exception):
    """The release cannot be made now; the text says what to do first."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a release changes.

    Attributes:
        version: The new version.
        files: File → its new text.
        notes: The release notes: what stood under "Unreleased".
    """

    version: str
    files: dict[str, str]
    notes: str


def plan(version: str, *, root: Path, today: dt.date) -> Release:
    """Work out a release.

    Raises:
        CannotRelease: The version is not a higher one, or the changelog says nothing new.
    """
    if not _VERSION.fullmatch(version):
        raise CannotRelease(f"{version!r} is not a version like 0.2.0")
    files = {name: (root / name).read_text("utf-8") for name in VERSION_LINES}
    for name, line in VERSION_LINES.items():
        found = line.search(files[name])
        if found is None:
            raise CannotRelease(f"{name} has no line with a version")
        if _parts(version) <= _parts(found[1]):
            raise CannotRelease(f"{name} is at {found[1]} already: choose a higher version than that")
        files[name] = files[name][: found.start(1)] + version + files[name][found.end(1) :]
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    before, heading, rest = changelog.partition(_UNRELEASED)
    notes, _, _ = rest.partition("\n## ")
    if not heading or not notes.strip():
        raise CannotRelease('CHANGELOG.md has nothing under "## Unreleased": write there what has changed')
    files["CHANGELOG.md"] = f"{before}{_UNRELEASED}\n## {version} ({today.isoformat()})\n{rest}"
    return Release(version, files, notes.strip())


def make(release: Release, *, root: Path) -> None:
    """Write the files, commit them, and tag the commit.

    Raises:
        CannotRelease: The worktree has changes, or the tag exists.
    """
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise CannotRelease("there are uncommitted changes: commit them first")
    tag = f"v{release.version}"
    if _git(root, "tag", "--list", tag):
        raise CannotRelease(f"the tag {tag} exists already")
    for name, text in release.files.items():
        (root / name).write_text(text, "utf-8")
    _git(root, "commit", "--quiet", "--message", f"Release {release.version}", "--", *release.files)
    # Verbatim: lines of the notes that start with # are headings, not comments.
    message = f"velro-auth {release.version}\n\n{release.notes}"
    _git(root, "tag", "--annotate", "--cleanup=verbatim", "--message", message, tag)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotRelease(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def main(say: Callable[[str], None] = print) -> int:
    """Make the release that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description="Make a release.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        release = plan(asked.version, root=asked.root, today=dt.datetime.now(dt.UTC).date())
        say(f"Release {release.version}\n")
        for name in release.files:
            say(f"  writes {name}")
        say(f"  commits them and tags the commit v{release.version}, with these notes:\n\n{release.notes}\n")
        if asked.dry_run:
            say("Nothing was changed: this was a dry run.")
        else:
            make(release, root=asked.root)
            say(f"Done. Publish it with: git push origin main v{release.version}")
    except CannotRelease as error:
        print(f"No release: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
