"""A checkpoint with everything that one can hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration, Checkpoint, Fingerprint

COMMIT = "a1" * 20
AT = datetime(2026, 11, 25, 21, 11, 5, tzinfo=UTC)


def applied(number: int, checksum: str | None = None) -> AppliedMigration:
    version = f"2026112210{number:02}00"
    return AppliedMigration(version, f"{version}_step_{number}", f"{number:064x}" if checksum is None else checksum)


def checkpoint(**changes: Any) -> Checkpoint:
    full = Checkpoint(
        commit=COMMIT,
        release="0.1.0",
        at=AT,
        settings=Fingerprint({"LOG_LEVEL": "0123456789abcdef"}, frozenset({"SUPABASE_SECRET_KEY"})),
        deployment_id="9288283e-34ab-4f67-affb-13e9ee47fc14",
        migrations=(applied(1), applied(2, checksum="")),
        note="before the hook",
        before_rollback_to="rollback-20261124-0800",
    )
    return replace(full, **changes)
