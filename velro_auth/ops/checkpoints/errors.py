"""Errors of checkpoints and rollbacks. Each message is one sentence that says what to do."""

from __future__ import annotations

from velro_auth.errors import VelroAuthError


class CheckpointError(VelroAuthError):
    """A checkpoint cannot be made, found or restored."""


class ForeignTag(CheckpointError):
    """The tag exists, but it is not a checkpoint."""


class DamagedCheckpoint(CheckpointError):
    """The checkpoint is incomplete or edited, or its tag was moved."""
