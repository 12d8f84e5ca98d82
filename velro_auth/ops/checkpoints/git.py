"""The git repository, and the checkpoints among its tags."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from velro_auth import __version__
from velro_auth.config.settings import Settings, inherited
from velro_auth.ops.checkpoints.checkpoint import (
    AppliedMigration,
    Checkpoint,
    CheckpointError,
    DamagedCheckpoint,
    Fingerprint,
    ForeignTag,
    one_line,
)

_PATTERN: Final = "rollback-*"


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that a folder is in.

    Each method may raise ``CheckpointError``: there is no git or no repository, git refused, or a commit is not here.
    """

    folder: Path

    def head(self) -> str:
        """Return the commit that is checked out."""
        self._output("rev-parse", "--git-dir")
        found = self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if found.returncode:
            raise CheckpointError("Nothing is committed yet, so there is nothing to come back to")
        return found.stdout.strip()

    def tree(self, commit: str) -> str:
        """Return the hash of the tree of *commit*: commits with the same tree hold the same files."""
        return self._output("rev-parse", "--verify", f"{commit}^{{tree}}")

    def is_dirty(self) -> bool:
        """Return whether there are changes that are not committed."""
        return bool(self._output("status", "--porcelain"))

    def add_tag(self, name: str, message: str) -> bool:
        """Create an annotated tag of the commit that is checked out and return True; False if the name exists."""
        # Verbatim: git would drop lines that begin with # as comments.
        made = self._run("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, "HEAD", given=message)
        if made.returncode and self.has_tag(name):
            return False
        if made.returncode and self._run("var", "GIT_COMMITTER_IDENT").returncode:
            raise CheckpointError(
                "Git does not know who makes the tag: git config user.name 'Your Name', and git config user.email"
                " you@example.com"
            )
        _refuse_failed(made, "tag")
        return True

    def tag(self, name: str) -> tuple[str, str] | None:
        """Return the commit and the message of an annotated tag; None if it is missing or not annotated."""
        found = self._run("cat-file", "tag", f"refs/tags/{name}")
        if found.returncode:
            return None
        head, _, message = found.stdout.partition("\n\n")
        return head.split()[1], message  # the head begins with "object <commit>"

    def has_tag(self, name: str) -> bool:
        """Return whether there is a tag of that name, annotated or not."""
        return not self._run("rev-parse", "--verify", "--quiet", f"refs/tags/{name}").returncode

    def tags(self, pattern: str) -> list[str]:
        """Return the names of the tags that match *pattern*, newest first."""
        asked = ("--sort=-version:refname", "--sort=-creatordate", "--format=%(refname:strip=2)")
        return self._output("for-each-ref", *asked, f"refs/tags/{pattern}").splitlines()

    def commits(self, since: str, until: str) -> list[str]:
        """Return the commits of *until* that *since* does not contain, newest first, as hash and subject."""
        return self._output("log", "--no-show-signature", "--format=%h %s", f"{since}..{until}", "--").splitlines()

    def has_merges(self, since: str, until: str) -> bool:
        """Return whether there is a merge among those commits."""
        return bool(self._output("rev-list", "--merges", "--max-count=1", f"{since}..{until}", "--"))

    def _output(self, *words: str) -> str:
        done = self._run(*words)
        _refuse_failed(done, words[0])
        return done.stdout.strip()

    def _run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = ("git", "--no-pager", *words)
        try:
            return subprocess.run(  # noqa: S603 - our own arguments and names below refs/tags only, no shell
                command,
                cwd=self.folder,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                # English messages, and no prompt.
                env=inherited(LC_ALL="C", GIT_TERMINAL_PROMPT="0"),
            )
        except FileNotFoundError as error:
            raise CheckpointError("git is not installed; checkpoints are git tags") from error


def _refuse_failed(done: subprocess.CompletedProcess[str], command: str) -> None:
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise CheckpointError(f"git {command}: {said[-1] if said else f'exit status {done.returncode}'}")


@dataclass(frozen=True, slots=True)
class Found:
    """A tag with a checkpoint.

    *checkpoint* is None where it is damaged; *damage* says how.
    """

    tag: str
    checkpoint: Checkpoint | None
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Tags:
    """The checkpoints of a repository. Each method may raise ``CheckpointError``: there is no git or no repository."""

    repository: Repository
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def make(
        self,
        *,
        settings: Settings,
        deployment_id: str | None = None,
        migrations: tuple[AppliedMigration, ...] | None = None,
        note: str = "",
        before_rollback_to: str | None = None,
    ) -> str:
        """Create a checkpoint of the commit that is checked out, and return the name of its tag.

        The name is ``rollback-<YYYYMMDD-HHMM>``, with a number at its end if that tag exists.
        """
        now = self.now()
        checkpoint = Checkpoint(
            commit=self.repository.head(),
            release=__version__,
            at=now,
            settings=Fingerprint.of(settings),
            deployment_id=one_line(deployment_id or settings.deployment_id) or None,
            migrations=migrations,
            note=one_line(note),
            before_rollback_to=before_rollback_to,
        )
        first = f"rollback-{now:%Y%m%d-%H%M}"
        names = itertools.chain([first], (f"{first}-{number}" for number in itertools.count(2)))
        return next(name for name in names if self.repository.add_tag(name, checkpoint.message()))

    def read(self, tag: str) -> Checkpoint:
        """Return the checkpoint of *tag*.

        Raises:
            CheckpointError: There is no such tag.
            ForeignTag: It is not a checkpoint.
            DamagedCheckpoint: It is incomplete, edited or moved.
        """
        found = self.repository.tag(tag)
        if found is not None:
            return Checkpoint.read(tag, *found)
        if self.repository.has_tag(tag):
            raise ForeignTag(f"The tag {tag} is no checkpoint: it is a plain mark without a message")
        raise CheckpointError(f"There is no tag {tag}; look at velro-auth checkpoint list, or fetch: git fetch --tags")

    def all(self) -> list[Found]:
        """Return the checkpoints, newest first, without other tags of the same pattern."""
        found = []
        for tag in self.repository.tags(_PATTERN):
            try:
                found.append(Found(tag, self.read(tag)))
            except ForeignTag:
                continue
            except DamagedCheckpoint as error:
                found.append(Found(tag, None, str(error)))
        return found

    def newest(self) -> str:
        """Return the newest checkpoint that was not made by a rollback, which would undo that rollback.

        A damaged one counts: skipping it would silently roll back further.

        Raises:
            CheckpointError: There is none.
        """
        for found in self.all():
            if found.checkpoint is None or found.checkpoint.before_rollback_to is None:
                return found.tag
        raise CheckpointError("There is no checkpoint; make one with velro-auth checkpoint, or fetch: git fetch --tags")
