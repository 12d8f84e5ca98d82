"""Plans, applies, rolls back and verifies the SQL of ``migrations/``."""

from velro_auth.ops.database.backfill import Progress
from velro_auth.ops.database.catalogue import Difference
from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.plan import State, Status, Step
from velro_auth.ops.database.runner import Runner

__all__ = ["DatabaseError", "Difference", "Progress", "Runner", "State", "Status", "Step"]
