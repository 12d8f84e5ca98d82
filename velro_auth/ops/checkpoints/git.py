"""What checkpoints need of git: tags, the commit that is checked out, the commits in between."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from velro_auth.config.settings import inherited
from velro_auth.ops.checkpoints.errors import GitFailed, GitMissing, NoIdentity, NotARepository, NothingCommitted


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that a folder is in.

    Attributes:
        folder: The folder, or any below it.
    """

    folder: Path

    def head(self) -> str:
        """Return the commit that is checked out.

        Raises:
            GitMissing: There is no git.
            NotARepository: This is no repository.
            NothingCommitted: It has no commit yet.
        """
        self._say("rev-parse", "--git-dir", error=NotARepository)
        found = self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if found.returncode:
            raise NothingCommitted("Nothing is committed yet, so there is nothing to come back to")
        return found.stdout.strip()

    def tree(self, commit: str) -> str:
        """Return the name of the contents of *commit*: two commits with the same one hold the same files.

        Raises:
            GitFailed: It is not in this repository.
        """
        return self._say("rev-parse", "--verify", f"{commit}^{{tree}}")

    def is_dirty(self) -> bool:
        """Return whether there is something that no commit holds.

        Raises:
            GitFailed: Git refused.
        """
        return bool(self._say("status", "--porcelain"))

    def add_tag(self, name: str, message: str) -> bool:
        """Make an annotated tag of what is checked out and return True; False where the name is taken.

        Raises:
            NoIdentity: Git has no name or no mail address to sign with.
            GitFailed: Git refused.
        """
        # Verbatim: git would take lines that begin with # for comments.
        made = self._run("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, "HEAD", given=message)
        if made.returncode and self.has_tag(name):
            return False
        if made.returncode and self._run("var", "GIT_COMMITTER_IDENT").returncode:
            raise NoIdentity(
                "Git does not know who makes the tag: git config user.name 'Your Name', and git config user.email"
                " you@example.com"
            )
        _refuse_failed(made, "tag", GitFailed)
        return True

    def tag(self, name: str) -> tuple[str, str] | None:
        """Return the commit and the message of an annotated tag; None where it is no annotated one.

        Raises:
            GitMissing: There is no git.
        """
        found = self._run("cat-file", "tag", f"refs/tags/{name}")
        if found.returncode:
            return None
        head, _, message = found.stdout.partition("\n\n")
        return head.split()[1], message  # the head begins with "object <commit>"

    def has_tag(self, name: str) -> bool:
        """Return whether there is a tag of that name, of any kind.

        Raises:
            GitMissing: There is no git.
        """
        return not self._run("rev-parse", "--verify", "--quiet", f"refs/tags/{name}").returncode

    def tags(self, pattern: str) -> list[str]:
        """Return the names of the tags that match *pattern*, newest first.

        Raises:
            GitMissing: There is no git.
            NotARepository: This is no repository.
        """
        asked = ("--sort=-version:refname", "--sort=-creatordate", "--format=%(refname:strip=2)")
        return self._say("for-each-ref", *asked, f"refs/tags/{pattern}", error=NotARepository).splitlines()

    def commits(self, since: str, until: str) -> list[str]:
        """Return the commits that *until* has and *since* has not, newest first: each with its subject.

        Raises:
            GitFailed: One of both is not in this repository.
        """
        return self._say("log", "--no-show-signature", "--format=%h %s", f"{since}..{until}", "--").splitlines()

    def has_merges(self, since: str, until: str) -> bool:
        """Return whether there is a merge among those commits.

        Raises:
            GitFailed: One of both is not in this repository.
        """
        return bool(self._say("rev-list", "--merges", "--max-count=1", f"{since}..{until}", "--"))

    def _say(self, *words: str, error: type[GitFailed] = GitFailed) -> str:
        done = self._run(*words)
        _refuse_failed(done, words[0], error)
        return done.stdout.strip()

    def _run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = ("git", "--no-pager", *words)
        try:
            return subprocess.run(  # noqa: S603 - our own words and names below refs/tags only, no shell in between
                command,
                cwd=self.folder,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                # One language, so that what git says fits into our sentence; and never a question.
                env=inherited(LC_ALL="C", GIT_TERMINAL_PROMPT="0"),
            )
        except FileNotFoundError as error:
            raise GitMissing("git is not installed; checkpoints are git tags") from error


def _refuse_failed(done: subprocess.CompletedProcess[str], command: str, error: type[GitFailed]) -> None:
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise error(f"git {command}: {said[-1] if said else f'exit status {done.returncode}'}")
