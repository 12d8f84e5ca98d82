"""Plans, applies, rolls back and verifies migrations.

Each migration and its history row are one transaction. So a runner that is killed leaves the database before or
after a migration, never in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from velro_auth.ops.database import files, history, preflight
from velro_auth.ops.database.backfill import BATCH_SIZE, Progress, backfill, is_pending
from velro_auth.ops.database.catalogue import Difference, differences
from velro_auth.ops.database.connection import Connection, Transactions, connected
from velro_auth.ops.database.executor import MIRROR, Executor
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.plan import MigrationPlan, Status, Step

#: Our objects that hold data, and whether it is the table whose rows are counted.
_DATA: Final = """
select subject, subject = 'table public.users' and to_regclass('public.users') is not null
from velro_auth.undo where drops_data and migration = any (%s)
order by position desc
"""


def _ignore(_event: object) -> None:
    """Do nothing with a notice or a progress report."""


@dataclass(frozen=True, slots=True)
class Runner:
    """The migrations of one database.

    Each method opens its own connection, checks the database and the role, and closes the connection. Each may raise
    ``DatabaseError``: the database cannot be reached, is the wrong one, or refuses this role; a version or name is
    unknown or not applied; a file was changed after it was applied; another session held a lock for too long.

    Attributes:
        dsn: The database, as the role that owns (or shall own) our objects: ``postgres``.
        on_notice: Called with each warning of the server, as one line.
    """

    dsn: str = field(repr=False)
    migrations: Sequence[Migration] = field(default_factory=lambda: files.load_all(files.shipped()))
    transactions: Transactions = field(default_factory=Transactions)
    on_notice: Callable[[str], None] = _ignore

    def status(self) -> list[Status]:
        """Return the status of each migration, in order."""
        with self.connected(changes=False) as connection:
            return self.plan_on(connection).statuses()

    def plan(
        self, *, to: str | None = None, adopt: bool = False, rehearse: bool = True, wanted: Collection[str] = ()
    ) -> list[Step]:
        """Return the steps that ``up`` would take; changes nothing, and needs read access only."""
        return self.up(to=to, dry_run=True, adopt=adopt, rehearse=rehearse, wanted=wanted)

    def up(
        self,
        *,
        to: str | None = None,
        dry_run: bool = False,
        again: bool = False,
        adopt: bool = False,
        rehearse: bool = True,
        wanted: Collection[str] = (),
    ) -> list[Step]:
        """Apply the pending migrations, and return the steps that were taken.

        Before the first change it rehearses, in a transaction that is rolled back: the migrations, and before and
        after them a sign-up, a profile update and a deletion.

        *to* is the last version to apply. With *dry_run* it only checks and rehearses; with *again*, the applied ones
        run once more too, which repairs what was changed by hand; with *adopt*, conflicting triggers of the project
        fire before ours.

        Raises:
            MigrationRefused: A migration refused what it found, or a sign-up would fail afterwards.
            MigrationFailed: A migration failed and was rolled back.
        """
        with self.connected(changes=not dry_run) as connection:
            plan = self.plan_on(connection)
            plan.refuse_edited()
            chosen = plan.to_apply(to=to, wanted=wanted, again=again)
            executor = Executor(connection, self.transactions)
            adopted = preflight.to_adopt(
                executor, chosen, adopts=adopt, rehearse=rehearse, shows_warnings=dry_run, on_notice=self.on_notice
            )
            if not dry_run:
                executor.record_cli_migrations(plan.only_in_cli_history())
                has_mirror = any(one.version == MIRROR for one in chosen)
                chosen = [one for one in chosen if executor.apply(one, again=again, adopt=adopted)]
                if adopted and not has_mirror:
                    executor.adopt_triggers(adopted)
            return [Step(one.version, one.label, one.up_sql) for one in chosen]

    def down(
        self,
        *,
        steps: int = 1,
        to: str | None = None,
        only: str | None = None,
        drop_data: bool = False,
        dry_run: bool = False,
    ) -> list[Step]:
        """Roll back the newest applied migrations, newest first, and return the steps that were taken.

        It runs the SQL that was stored when the migration was applied, so an older release can roll back what a
        newer one applied.

        *to* rolls back everything newer than it, *only* rolls back this optional migration; both ignore *steps*. With
        *drop_data* our tables, columns and types are dropped; else they stay, closed to the data API.

        Raises:
            MigrationFailed: A migration could not be rolled back; it stays applied.
        """
        with self.connected() as connection:
            plan = self.plan_on(connection)
            chosen = plan.to_roll_back(steps=steps, to=to, only=only)
            if not dry_run:
                executor = Executor(connection, self.transactions)
                executor.record_cli_migrations(plan.only_in_cli_history())
                chosen = [applied for applied in chosen if executor.roll_back(applied, drop_data=drop_data)]
            return [Step(one.version, one.label, one.down_sql) for one in chosen]

    def droppable_data(self, versions: Sequence[str]) -> list[str]:
        """Return what rolling back *versions* with *drop_data* would drop: our tables, columns and types."""
        with self.connected() as connection:
            if not history.exists(connection, "velro_auth", "undo"):
                return []
            rows = list(connection.execute(_DATA, (list(versions),)))
            return [f"{subject} ({_count(connection)} rows)" if counts else str(subject) for subject, counts in rows]

    def verify(self, *, rehearse: bool = True) -> list[Difference]:
        """Return the differences between the live database and the migrations.

        With *rehearse*, a sign-up is rehearsed too, in a transaction that is rolled back.
        """
        with self.connected() as connection:
            found = differences(connection, self.plan_on(connection).statuses())
            if rehearse and not preflight.rehearsal_blocker(connection):
                now, _ = Executor(connection, self.transactions).rehearse(())
                found += [
                    Difference(f"{one.step} (rehearsed)", "goes through", one.found, is_remark=not one.is_ours)
                    for one in now.failures()
                ]
            return found

    def backfill_is_pending(self) -> bool:
        """Return whether the users from before the migrations still have to be mirrored."""
        with self.connected(changes=False) as connection:
            return is_pending(connection)

    def backfill(self, *, batch_size: int = BATCH_SIZE, on_progress: Callable[[Progress], None] = _ignore) -> Progress:
        """Mirror ``auth.users`` into ``public.users``; an interrupted run is continued."""
        with self.connected() as connection:
            return backfill(connection, self.transactions, batch_size=batch_size, on_progress=on_progress)

    def export(self, directory: Path, *, wanted: Collection[str] = ()) -> list[Path]:
        """Write the up files into *directory*, for the Supabase CLI, and return their paths.

        The down files are left out: the CLI would apply them as migrations. So are optional migrations that are not
        *wanted*.
        """
        chosen = files.named(self.migrations, wanted)
        directory.mkdir(parents=True, exist_ok=True)
        written = []
        for migration in self.migrations:
            if migration.is_optional and migration not in chosen:
                continue
            path = directory / f"{migration.label}.sql"
            path.write_text(migration.up_sql, encoding="utf-8", newline="\n")
            written.append(path)
        return written

    @contextmanager
    def connected(self, *, changes: bool = True) -> Iterator[Connection]:
        """Open a connection for the length of a block, after a look at the database and the role."""
        with connected(self.dsn, self.on_notice) as connection:
            preflight.check(connection, changes=changes)
            yield connection

    def plan_on(self, connection: Connection) -> MigrationPlan:
        """Return what the database records, beside the files."""
        return MigrationPlan(self.migrations, history.read(connection), history.cli_versions(connection))


def _count(connection: Connection) -> int:
    row = connection.execute("select count(*) from public.users").fetchone()
    return cast("int", row[0]) if row else 0
