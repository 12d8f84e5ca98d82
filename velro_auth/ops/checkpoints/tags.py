"""The tags of a repository that are checkpoints: makes them, finds them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from velro_auth import __version__
from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.checkpoint import AppliedMigration, Checkpoint, one_line
from velro_auth.ops.checkpoints.errors import DamagedCheckpoint, ForeignTag, NoCheckpoint
from velro_auth.ops.checkpoints.fingerprint import Fingerprint
from velro_auth.ops.checkpoints.git import Repository

_PATTERN: Final = "rollback-*"


@dataclass(frozen=True, slots=True)
class Found:
    """A tag that is a checkpoint, or was one.

    Attributes:
        tag: Its name.
        checkpoint: What it carries; None where it is damaged.
        trouble: Why it is; empty where it is not.
    """

    tag: str
    checkpoint: Checkpoint | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Tags:
    """The checkpoints of a repository.

    Attributes:
        repository: Where they are kept.
        now: The time, in UTC.
    """

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
        """Remember the commit that is checked out, with all that is given, and return the name of the tag.

        The name is ``rollback-<YYYYMMDD-HHMM>``, with a number behind where the minute has one already: whoever
        is in trouble should not be told to wait for the next minute.

        Raises:
            CheckpointError: There is no git, no repository or no commit, or git refused.
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
        """Return the checkpoint that *tag* carries.

        Raises:
            NoCheckpoint: There is no such tag.
            ForeignTag: Somebody else made it.
            DamagedCheckpoint: It was torn, edited or moved.
        """
        found = self.repository.tag(tag)
        if found is not None:
            return Checkpoint.read(tag, *found)
        if self.repository.has_tag(tag):
            raise ForeignTag(f"The tag {tag} is no checkpoint: it is a plain mark without a message")
        raise NoCheckpoint(f"There is no tag {tag}; look at velro-auth checkpoint list, or fetch: git fetch --tags")

    def all(self) -> list[Found]:
        """Return the checkpoints, newest first; tags that somebody else made are left out.

        Raises:
            CheckpointError: There is no git or no repository.
        """
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
        """Return the newest checkpoint that no rollback made: it would lead back to where one just came from.

        A damaged one counts, so that nobody goes further back than they think.

        Raises:
            NoCheckpoint: There is none.
            CheckpointError: There is no git or no repository.
        """
        for found in self.all():
            if found.checkpoint is None or found.checkpoint.before_rollback_to is None:
                return found.tag
        raise NoCheckpoint("There is no checkpoint; make one with velro-auth checkpoint, or fetch: git fetch --tags")
