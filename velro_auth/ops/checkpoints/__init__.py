"""Remembers, in an annotated git tag, where a deployment stood, and works out the way back to it."""

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration, Checkpoint
from velro_auth.ops.checkpoints.database import Database
from velro_auth.ops.checkpoints.errors import CheckpointError
from velro_auth.ops.checkpoints.fingerprint import Fingerprint
from velro_auth.ops.checkpoints.git import Repository
from velro_auth.ops.checkpoints.rollback_plan import RollbackPlan
from velro_auth.ops.checkpoints.tags import Found, Tags

__all__ = [
    "AppliedMigration",
    "Checkpoint",
    "CheckpointError",
    "Database",
    "Fingerprint",
    "Found",
    "Repository",
    "RollbackPlan",
    "Tags",
]
