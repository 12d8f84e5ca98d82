"""Remembers, in an annotated git tag, where a deployment stood, and works out the way back to it."""

from velro_auth.checkpoints.checkpoint import AppliedMigration, Checkpoint
from velro_auth.checkpoints.database import Database
from velro_auth.checkpoints.errors import CheckpointError
from velro_auth.checkpoints.fingerprint import Fingerprint
from velro_auth.checkpoints.git import Repository
from velro_auth.checkpoints.tags import Found, Tags
from velro_auth.checkpoints.way import Way

__all__ = [
    "AppliedMigration",
    "Checkpoint",
    "CheckpointError",
    "Database",
    "Fingerprint",
    "Found",
    "Repository",
    "Tags",
    "Way",
]
