"""Stores the state of a deployment in an annotated git tag, and plans the rollback to it."""

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration, Checkpoint, CheckpointError, Fingerprint
from velro_auth.ops.checkpoints.git import Found, Repository, Tags
from velro_auth.ops.checkpoints.rollback_plan import RollbackPlan

__all__ = [
    "AppliedMigration",
    "Checkpoint",
    "CheckpointError",
    "Fingerprint",
    "Found",
    "Repository",
    "RollbackPlan",
    "Tags",
]
