"""The database beside its checkpoints: says what is applied, and goes the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration
from velro_auth.ops.checkpoints.rollback_plan import RollbackPlan, applied_now, way_back
from velro_auth.ops.database import Runner
from velro_auth.ops.database.connection import place
from velro_auth.ops.database.files import Migration, load, shipped


class Database:
    """A database that checkpoints remember, and that a rollback brings back.

    Args:
        dsn: Its address, as the role that owns what the migrations made.
        on_notice: Told each warning of the server, as one line.
        migrations: The migrations of this release; the shipped ones when None.
    """

    def __init__(
        self, dsn: str, *, on_notice: Callable[[str], None], migrations: Sequence[Migration] | None = None
    ) -> None:
        self._dsn, self._on_notice = dsn, on_notice
        self._files = tuple(load(shipped()) if migrations is None else migrations)
        self._runner = self._runner_of(self._files)

    @property
    def place(self) -> str:
        """Which one it is, in words.

        Raises:
            BadDatabaseUrl: The address cannot be used.
        """
        return place(self._dsn)

    def applied(self) -> tuple[AppliedMigration, ...]:
        """Return what is applied, in order.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        return applied_now(self._runner.status())

    def way_back(self, then: Sequence[AppliedMigration]) -> RollbackPlan:
        """Return the way to what was applied *then*; changes nothing.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        return way_back(then, self._runner.status(), self._files)

    def data_at_stake(self, way: RollbackPlan) -> list[str]:
        """Return what *way* would drop if it did not keep data: tables, columns and types.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        return self._runner.data_at_stake([one.version for one in way.take_back])

    def go(self, way: RollbackPlan, *, drop_data: bool = False) -> Iterator[str]:
        """Go *way* step by step, and yield what was done; keeps data unless *drop_data*.

        Whatever others did to the database meanwhile, nothing up to the floor of the way is taken back.

        Raises:
            DatabaseError: The database cannot be asked, or a step failed; the lines so far say what was done.
        """
        if way.take_back:
            for step in self._runner.down(steps=len(way.take_back), to=way.latest_shared or None, drop_data=drop_data):
                yield f"took back {step.label}"
        if way.apply:
            # Only these: a runner of all files would refuse because of an edited one that is none of our business.
            for step in self._runner_of(way.apply).up():
                yield f"applied {step.label}"

    def backfill_is_pending(self) -> bool:
        """Return whether users from before still have to be mirrored.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        return self._runner.backfill_is_pending()

    def _runner_of(self, migrations: Sequence[Migration]) -> Runner:
        return Runner(self._dsn, migrations=migrations, on_notice=self._on_notice)
