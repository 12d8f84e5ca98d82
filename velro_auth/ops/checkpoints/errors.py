"""What can go wrong with checkpoints, each as one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class CheckpointError(VelroAuthError):
    """The root of everything that goes wrong with checkpoints."""


class GitMissing(CheckpointError):
    """There is no git to ask."""


class GitFailed(CheckpointError):
    """Git refused, and said why."""


class NoIdentity(GitFailed):
    """Git signs a tag with a name and a mail address, and knows none."""


class NotARepository(GitFailed):
    """This folder is in no repository that git would read."""


class NothingCommitted(CheckpointError):
    """The repository has no commit yet, so there is nothing to come back to."""


class NoCheckpoint(CheckpointError):
    """There is no such checkpoint, or none at all."""


class ForeignTag(CheckpointError):
    """The tag exists, and somebody else made it."""


class DamagedCheckpoint(CheckpointError):
    """The tag is a checkpoint that was torn, edited or moved."""


class NoDatabasePart(CheckpointError):
    """The checkpoint was made without the database, so it does not say what to go back to."""


class CannotRestore(CheckpointError):
    """The database cannot be brought to what the checkpoint says."""
