"""Compares the migration files with the history; does not access a database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.files import Migration, named, upto
from velro_auth.ops.database.history import SUPABASE_CLI, Applied


class State(Enum):
    """The state of a migration."""

    PENDING = "pending"
    NOT_ASKED_FOR = "optional, off"
    APPLIED = "applied"
    EDITED = "edited after it was applied"
    NEWER = "applied, no file here"

    @property
    def is_applied(self) -> bool:
        """Whether the database has it."""
        return self not in {State.PENDING, State.NOT_ASKED_FOR}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one migration, and when and by whom it was applied.

    The checksum is that of the SQL that was applied: empty where nothing was applied, or the Supabase CLI did it.
    """

    version: str
    label: str
    state: State
    applied_at: datetime | None = None
    applied_by: str = ""
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that is applied or rolled back, with the SQL that does it."""

    version: str
    label: str
    sql: str


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The migration files and what the database records.

    Of what the Supabase CLI has applied, only the versions are known. Methods raise ``DatabaseError`` where there is no
    migration of a version or name, or it is not applied.
    """

    migrations: Sequence[Migration]
    history: Mapping[str, Applied]
    cli_versions: frozenset[str]

    def state_of(self, version: str) -> State:
        """Return the state of the migration *version*."""
        migration = next((one for one in self.migrations if one.version == version), None)
        applied = self.history.get(version)
        if migration is None:
            return State.NEWER
        if applied is not None:
            return State.APPLIED if applied.checksum == migration.checksum else State.EDITED
        if version in self.cli_versions:
            return State.APPLIED
        return State.NOT_ASKED_FOR if migration.is_optional else State.PENDING

    def statuses(self) -> list[Status]:
        """Return the status of each migration, in order, also of those without a file."""
        labels = {one.version: one.label for one in self.history.values()}
        labels |= {one.version: one.label for one in self.migrations}
        return [self._status(version, label) for version, label in sorted(labels.items())]

    def refuse_edited(self) -> None:
        """Check that each applied file is unchanged.

        Raises:
            DatabaseError: At least one was changed.
        """
        edited = [one.label for one in self.statuses() if one.state is State.EDITED]
        if edited:
            raise DatabaseError(
                f"Edited after it was applied: {', '.join(edited)}. Restore the file and put the change into a"
                " migration of its own"
            )

    def only_in_cli_history(self) -> list[Migration]:
        """Return what the Supabase CLI has applied and our history does not have."""
        return [one for one in self.migrations if one.version in self.cli_versions and one.version not in self.history]

    def to_apply(self, *, to: str | None, wanted: Collection[str], again: bool) -> list[Migration]:
        """Return what ``up`` applies, in order.

        *to* is the last version, *wanted* are names of optional migrations; with *again*, the applied ones as well.
        """
        chosen = {one.version for one in named(self.migrations, wanted)}
        states = {State.PENDING, State.APPLIED} if again else {State.PENDING}
        return [
            one
            for one in (upto(self.migrations, to) if to else self.migrations)
            if (state := self.state_of(one.version)) in states
            or (state is State.NOT_ASKED_FOR and one.version in chosen)
        ]

    def to_roll_back(self, *, steps: int = 1, to: str | None = None, only: str | None = None) -> list[Applied]:
        """Return what ``down`` rolls back, newest first: see ``Runner.down``."""
        applied = self._newest_first()
        if only is not None:
            versions = {one.version for one in named(self.migrations, [only])}
            return [one for one in applied if one.version in versions]
        if to is None:
            return applied[:steps]
        if to not in {one.version for one in applied}:
            raise DatabaseError(f"Migration {to} is not applied, so the database cannot be rolled back to it")
        return [one for one in applied if one.version > to]

    def _newest_first(self) -> list[Applied]:
        by_cli = [
            Applied(one.version, one.name, one.checksum, one.down_sql, None, SUPABASE_CLI)
            for one in self.only_in_cli_history()
        ]
        return sorted([*self.history.values(), *by_cli], key=lambda one: one.version, reverse=True)

    def _status(self, version: str, label: str) -> Status:
        state, applied = self.state_of(version), self.history.get(version)
        if applied is not None:
            return Status(version, label, state, applied.applied_at, applied.applied_by, applied.checksum)
        return Status(version, label, state, applied_by=SUPABASE_CLI if version in self.cli_versions else "")
