"""Errors of checkpoints and rollbacks. Each message is one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class CheckpointError(VelroAuthError):
    """The base class of these errors."""


class GitMissing(CheckpointError):
    """Git is not installed."""


class GitFailed(CheckpointError):
    """Git failed, with its message."""


class NoIdentity(GitFailed):
    """Git has no name and mail address for the author of a tag."""


class NotARepository(GitFailed):
    """The folder is not in a git repository."""


class NothingCommitted(CheckpointError):
    """The repository has no commit yet."""


class NoCheckpoint(CheckpointError):
    """There is no such checkpoint, or none at all."""


class ForeignTag(CheckpointError):
    """The tag exists, but it is not a checkpoint."""


class DamagedCheckpoint(CheckpointError):
    """The checkpoint is incomplete or edited, or its tag was moved."""


class NoDatabasePart(CheckpointError):
    """The checkpoint was made without the database, so it names no migrations."""


class CannotRestore(CheckpointError):
    """The database cannot be brought to the migrations of the checkpoint."""
