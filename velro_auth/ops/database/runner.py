"""Plans, applies and takes back migrations, each in one transaction.

The history is written in the transaction of its migration: a runner that is killed at any point leaves the
database before or after a migration, never in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from velro_auth.ops.database import files, history, preflight
from velro_auth.ops.database.backfill import BATCH_SIZE, Progress, backfill, is_pending
from velro_auth.ops.database.beforehand import MIRROR
from velro_auth.ops.database.catalogue import Difference, differences
from velro_auth.ops.database.connection import Connection, connected
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.look_ahead import LookAhead
from velro_auth.ops.database.plan import MigrationPlan, State, Status, Step
from velro_auth.ops.database.transaction import Transactions
from velro_auth.ops.database.work import Work

#: What of ours holds data; a table with its size.
_AT_STAKE: Final = """
select subject, subject = 'table public.users' and to_regclass('public.users') is not null
from velro_auth.undo where drops_data and migration = any (%s)
order by position desc
"""


def _silent(_message: str) -> None:
    """Say nothing."""


def _count(connection: Connection) -> int:
    row = connection.execute("select count(*) from public.users").fetchone()
    return cast("int", row[0]) if row else 0


class Runner:
    """The migrations of one database.

    Every method opens its own connection, checks that the database will do, and closes the connection.

    Args:
        dsn: The database, as the role that owns (or shall own) what the migrations make: ``postgres``.
        migrations: What to apply; the shipped ones when None.
        transactions: How transactions are run and repeated.
        on_notice: Told each warning of the server, as one line.
    """

    def __init__(
        self,
        dsn: str,
        *,
        migrations: Sequence[Migration] | None = None,
        transactions: Transactions | None = None,
        on_notice: Callable[[str], None] = _silent,
    ) -> None:
        self._dsn = dsn
        self._migrations = tuple(files.load(files.shipped()) if migrations is None else migrations)
        self._transactions = transactions or Transactions()
        self._on_notice = on_notice

    def status(self) -> list[Status]:
        """Return where each migration stands, in order.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected(changes=False) as connection:
            return list(self._plan(connection).statuses())

    def plan(self, *, to: str | None = None, adopt: bool = False, rehearse: bool = True) -> list[Step]:
        """Return the steps that ``up`` would take; nothing is changed, and a role that may only read is enough.

        Raises:
            DatabaseError: As for ``up``.
        """
        return self.up(to=to, dry_run=True, adopt=adopt, rehearse=rehearse)

    def up(
        self,
        *,
        to: str | None = None,
        dry_run: bool = False,
        again: bool = False,
        adopt: bool = False,
        rehearse: bool = True,
    ) -> list[Step]:
        """Apply what is not applied yet, and return the steps that were taken.

        Before the first change everything is rehearsed in a transaction that is taken back: the migrations, and a
        sign-up, a profile update and a deletion before and after them.

        Args:
            to: The last version to apply; all when None.
            dry_run: Only look and rehearse, and return the steps.
            again: Run the applied ones once more too, which mends what was changed by hand.
            adopt: Let triggers of the project that are in the way of ours fire before them.
            rehearse: Whether to rehearse; without it only what can be read is looked at.

        Raises:
            MigrationEdited: A file was changed after it was applied.
            MigrationRefused: A migration will not touch what it found, or a sign-up would fail afterwards; nothing
                was changed.
            MigrationFailed: A migration failed and was taken back.
            LockNotObtained: Somebody held a lock for too long.
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected(changes=not dry_run) as connection:
            plan = self._plan(connection)
            plan.refuse_edited()
            work = Work(connection, self._transactions)
            chosen = [
                migration
                for migration in (files.upto(self._migrations, to) if to else self._migrations)
                if again or plan.state_of(migration.version) is State.PENDING
            ]
            look = LookAhead(work, tuple(chosen), adopt, shows_warnings=dry_run)
            take_over = self._look_ahead(look, rehearse=rehearse)
            if not dry_run:
                work.adopt(plan.adoptable())
                chosen = [one for one in chosen if work.apply(one, again=again, take_over=take_over)]
                if take_over and all(one.version != MIRROR for one in look.migrations):
                    work.take_over(take_over)
            return [Step(one.version, one.label, one.up_sql) for one in chosen]

    def down(
        self, *, steps: int = 1, to: str | None = None, drop_data: bool = False, dry_run: bool = False
    ) -> list[Step]:
        """Take back the newest applied migrations, newest first, and return the steps that were taken.

        The SQL is the one that was stored when the migration was applied, so an older release can take back
        what a newer one applied.

        Args:
            steps: How many.
            to: Take back everything newer than this version, whatever *steps* says.
            drop_data: Drop tables, columns and types that we made; else they stay, closed to the data API.
            dry_run: Only return the steps.

        Raises:
            UnknownMigration: *to* is not applied.
            MigrationFailed: A migration could not be taken back; it stays applied.
            LockNotObtained: Somebody held a lock for too long.
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected() as connection:
            plan = self._plan(connection)
            chosen = plan.newest_applied(steps) if to is None else plan.applied_after(to)
            if not dry_run:
                work = Work(connection, self._transactions)
                work.adopt(plan.adoptable())
                chosen = [applied for applied in chosen if work.take_back(applied, drop_data=drop_data)]
            return [Step(one.version, one.label, one.down_sql) for one in chosen]

    def data_at_stake(self, versions: Sequence[str]) -> list[str]:
        """Return what taking back *versions* with *drop_data* would drop: tables, columns and types of ours.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected() as connection:
            if not history.exists(connection, "velro_auth", "undo"):
                return []
            rows = list(connection.execute(_AT_STAKE, (list(versions),)))
            return [f"{subject} ({_count(connection)} rows)" if counts else str(subject) for subject, counts in rows]

    def verify(self, *, rehearse: bool = True) -> list[Difference]:
        """Return in what the live database differs from what the migrations say.

        Args:
            rehearse: Whether to rehearse a sign-up too, in a transaction that is taken back.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected() as connection:
            found = differences(connection, self._plan(connection).statuses())
            if rehearse and not preflight.lacking(connection):
                shown, _ = Work(connection, self._transactions).rehearse(())
                found += [
                    Difference(f"{one.step} (rehearsed)", "goes through", one.found, is_remark=not one.is_ours)
                    for one in shown.problems()
                ]
            return found

    def backfill_is_pending(self) -> bool:
        """Return whether the users from before the migrations still have to be mirrored.

        Raises:
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected(changes=False) as connection:
            return is_pending(connection)

    def backfill(
        self, *, batch_size: int = BATCH_SIZE, on_progress: Callable[[Progress], None] | None = None
    ) -> Progress:
        """Bring ``public.users`` in line with ``auth.users``; an interrupted run is continued.

        Raises:
            UnknownMigration: The migration that brings the back-fill is not applied.
            LockNotObtained: Somebody held a lock for too long.
            DatabaseError: The database cannot be asked, or will not do.
        """
        with self._connected() as connection:
            return backfill(
                connection, self._transactions, batch_size=batch_size, on_progress=on_progress or (lambda _: None)
            )

    def export(self, directory: Path) -> list[Path]:
        """Write the SQL that applies the migrations into *directory*, for the Supabase CLI; return the files.

        The ways back are left out: the CLI would take them for migrations.
        """
        directory.mkdir(parents=True, exist_ok=True)
        written = []
        for migration in self._migrations:
            path = directory / f"{migration.label}.sql"
            path.write_text(migration.up_sql, encoding="utf-8", newline="\n")
            written.append(path)
        return written

    def _look_ahead(self, look: LookAhead, *, rehearse: bool) -> list[str]:
        """Return the triggers to take over, after everything was looked at and, where that can be, rehearsed."""
        names = look.read()
        if not rehearse or not (look.migrations or look.adopts):
            return names
        if lacking := preflight.lacking(look.work.connection):
            self._on_notice(f"Not rehearsed, so up may still refuse: {lacking}")
            return names
        return look.rehearse(names)

    @contextmanager
    def _connected(self, *, changes: bool = True) -> Iterator[Connection]:
        with connected(self._dsn, self._on_notice) as connection:
            preflight.check(connection, changes=changes)
            yield connection

    def _plan(self, connection: Connection) -> MigrationPlan:
        return MigrationPlan(self._migrations, history.read(connection), history.cli_versions(connection))
