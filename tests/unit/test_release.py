"""`make release`: a version, the changelog, a commit and a tag; or only what it would do."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.release import VERSION_LINES, CannotRelease, plan

ROOT = Path(__file__).resolve().parents[2]
TODAY = dt.date(2026, 12, 1)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that a release changes."""
    folder = tmp_path / "checkout"
    for name in (*VERSION_LINES, "CHANGELOG.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    changelog = folder / "CHANGELOG.md"
    head, _, rest = changelog.read_text().partition("## Unreleased\n")
    changelog.write_text(f"{head}## Unreleased\n\n### Added\n\n- Something new.\n\n## 0.0.1 (2026-01-01)\n{rest}")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.com")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "before")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.release", *arguments, "--root", str(folder)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def state(folder: Path) -> tuple[str, str, str]:
    return git(folder, "log", "--format=%H"), git(folder, "status", "--porcelain"), git(folder, "tag")


def test_a_dry_run_says_what_would_happen_and_changes_nothing(checkout: Path) -> None:
    before = state(checkout)

    done = release(checkout, "99.0.0", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "v99.0.0" in done.stdout
    assert "- Something new." in done.stdout
    assert "Nothing was changed" in done.stdout
    assert state(checkout) == before


def test_a_release_is_a_commit_and_a_tag_with_the_notes(checkout: Path) -> None:
    done = release(checkout, "99.0.0")

    assert done.returncode == 0, done.stderr
    assert git(checkout, "log", "-1", "--format=%s") == "Release 99.0.0\n"
    tag = git(checkout, "tag", "--list", "--format=%(contents)", "v99.0.0")
    assert tag.startswith("velro-auth 99.0.0\n")
    assert "### Added\n\n- Something new." in tag
    assert git(checkout, "status", "--porcelain") == ""
    for name in VERSION_LINES:
        assert '"99.0.0"' in (checkout / name).read_text()
    assert "## Unreleased\n\n## 99.0.0 (" in (checkout / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("version", ["0.0.1", "1.0", "v1.0.0", "", "1.0.0rc1"])
def test_no_release_of_a_version_that_is_none_or_not_higher(checkout: Path, version: str) -> None:
    with pytest.raises(CannotRelease):
        plan(version, root=checkout, today=TODAY)


def test_no_release_without_something_new(checkout: Path) -> None:
    release(checkout, "99.0.0")

    done = release(checkout, "99.0.1")

    assert done.returncode == 1
    assert "Unreleased" in done.stderr


def test_no_release_of_what_is_not_committed(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text((checkout / "CHANGELOG.md").read_text() + "\nmore\n")

    done = release(checkout, "99.0.0")

    assert done.returncode == 1
    assert "commit" in done.stderr
    assert git(checkout, "tag") == ""


def test_the_three_distributions_have_one_version() -> None:
    found = {line.search((ROOT / name).read_text())[1] for name, line in VERSION_LINES.items()}  # type: ignore[index]

    assert len(found) == 1
