"""Checks, before anything is changed, whether the migrations can be applied to this database by this role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from velro_auth.ops.database import rehearsal
from velro_auth.ops.database.connection import Connection
from velro_auth.ops.database.errors import DatabaseError, MigrationRefused
from velro_auth.ops.database.executor import MIRROR, Executor
from velro_auth.ops.database.files import Migration, package_sql
from velro_auth.ops.database.rehearsal import Regression, Rehearsal, Trigger


def check(connection: Connection, *, changes: bool = True) -> None:
    """Check that the migrations can be applied here, or at least be read.

    Raises:
        DatabaseError: Not the database of a Supabase project, a read-only copy, or too old; the schema velro_auth
            belongs to another role; the role lacks a right that the migrations need.
    """
    for sentence, prevents in _problems(connection):
        if prevents == "all" or (changes and prevents == "changes"):
            raise DatabaseError(sentence)


def rehearsal_blocker(connection: Connection) -> str:
    """Return why this role cannot rehearse the migrations, as a sentence; empty where it can."""
    return next((sentence for sentence, _ in _problems(connection)), "")


def _problems(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(package_sql("database/requirements").encode())
    return [(str(sentence), str(prevents)) for sentence, prevents in rows]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What ``plan`` and ``up`` check before the first change.

    Attributes:
        adopts: Whether triggers of the project may be adopted: renamed, so that they fire before ours.
    """

    executor: Executor
    migrations: Sequence[Migration]
    adopts: bool
    shows_warnings: bool = False

    def run(self, *, rehearse: bool, on_notice: Callable[[str], None]) -> list[str]:
        """Return the triggers that have to be adopted.

        Without *rehearse*, only the catalogue is read. *on_notice* is told why a role cannot rehearse.

        Raises:
            MigrationRefused: Something conflicts with the migrations; the sentence names it and what to do.
            MigrationFailed: A migration would fail.
            DatabaseError: Another session held a lock through all tries.
        """
        triggers = self._conflicting_triggers()
        if not rehearse or not (self.migrations or self.adopts):
            return triggers
        if blocker := rehearsal_blocker(self.executor.connection):
            on_notice(f"Not rehearsed, so up may still refuse: {blocker}")
            return triggers
        try:
            return self._rehearse(triggers)
        except MigrationRefused as error:
            raise MigrationRefused(f"{error}. Nothing was changed") from error

    def _conflicting_triggers(self) -> list[str]:
        """Return the triggers that have one of our names, or insert a row that our trigger made; only reads.

        A rehearsal does not find each of the second kind: the project may refuse the rehearsed user, or its trigger
        may do nothing for that user.
        """
        versions = {one.version for one in self.migrations}
        connection = self.executor.connection
        with connection.transaction():
            connection.execute("set local search_path = ''")
            conflicts = [
                str(sentence)
                for version, sentence in connection.execute(package_sql("database/conflicts").encode())
                if version in versions
            ]
            triggers = rehearsal.triggers(connection) if MIRROR in versions else []
        same_name = [one for one in triggers if one.name in rehearsal.TRIGGER_NAMES]
        same_row = [one for one in triggers if one.inserts_our_row]
        if conflicts:
            raise MigrationRefused(f"{conflicts[0]}. Nothing was changed")
        if same_name and not self.adopts:
            raise MigrationRefused(
                f"auth.users has a trigger {same_name[0].name} of yours, which calls {same_name[0].function}; adopt it"
                ' with "velro-auth db up --adopt": it then fires before ours. Nothing was changed'
            )
        if same_row and not self.adopts:
            raise MigrationRefused(
                f"The trigger {same_row[0].name}, which calls {same_row[0].function}, inserts into public.users after"
                ' our trigger made the row, so sign-ups would fail; adopt it with "velro-auth db up --adopt": it then'
                ' fires before ours; or let it insert with "on conflict (id) do nothing". Nothing was changed'
            )
        return [one.name for one in (*same_name, *same_row)]

    def _rehearse(self, triggers: Sequence[str]) -> list[str]:
        """Rehearse sign-ups before and after, and return *triggers* with those that have to be adopted as well."""
        chosen = list(triggers)
        while True:
            before, after = self.executor.rehearse(self.migrations, adopt=chosen, shows_warnings=self.shows_warnings)
            regression = self._regression(before, after)
            if regression is None:
                return chosen
            trigger = regression.trigger
            if not self.adopts or trigger is None or not _can_be_adopted(trigger, chosen):
                raise MigrationRefused(regression.sentence)
            chosen.append(trigger.name)

    def _regression(self, before: Rehearsal, after: Rehearsal) -> Regression | None:
        for regression in after.regressions_since(before):
            return regression
        if self.adopts:
            # Our triggers may be applied already, and a trigger that fires after them has failed since then.
            for failure in after.failures():
                if failure.is_ours and failure.trigger is not None and _can_be_adopted(failure.trigger, ()):
                    return failure
        return None


def _can_be_adopted(trigger: Trigger, chosen: Sequence[str]) -> bool:
    return trigger.name not in chosen and trigger.fires_after_ours
