"""Finds out, before anything is changed, what a project has in the way of the migrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from velro_auth.ops.database import beforehand, rehearsal, sqlfiles
from velro_auth.ops.database.errors import MigrationRefused
from velro_auth.ops.database.files import Migration
from velro_auth.ops.database.rehearsal import Loss, Rehearsal, Trigger
from velro_auth.ops.database.work import Work


@dataclass(frozen=True, slots=True)
class LookAhead:
    """What ``plan`` and ``up`` look at before the first change.

    Attributes:
        work: The work on the connection.
        migrations: What is to be applied.
        adopts: Whether triggers of the project may be taken over.
        shows_warnings: Pass on what the migrations warn of in the rehearsal.
    """

    work: Work
    migrations: Sequence[Migration]
    adopts: bool
    shows_warnings: bool = False

    def read(self) -> list[str]:
        """Return the triggers that have to be taken over: they have names of ours, or meet our row; only reads.

        A rehearsal does not find each of the second kind: the rehearsed user may be one whom a rule of the project
        refuses, or one for whom the trigger does nothing.

        Raises:
            MigrationRefused: Something is in the way; the sentence names it and what to do.
        """
        versions = {one.version for one in self.migrations}
        connection = self.work.connection
        with connection.transaction():
            connection.execute("set local search_path = ''")
            found = [
                str(sentence)
                for version, sentence in connection.execute(sqlfiles.read("obstacles").encode())
                if version in versions
            ]
            triggers = rehearsal.triggers(connection) if beforehand.MIRROR in versions else []
        held = [one for one in triggers if one.name in rehearsal.TRIGGER_NAMES]
        meeting = [one for one in triggers if one.meets_ours]
        if found:
            raise MigrationRefused(f"{found[0]}. Nothing was changed")
        if held and not self.adopts:
            raise MigrationRefused(
                f"auth.users has a trigger {held[0].name} of yours, which calls {held[0].function}; take it over with"
                ' "velro-auth db up --adopt": it goes on running, before ours. Nothing was changed'
            )
        if meeting and not self.adopts:
            raise MigrationRefused(
                f"The trigger {meeting[0].name}, which calls {meeting[0].function}, inserts into public.users after our"
                ' trigger made the row, so sign-ups would fail; take it over with "velro-auth db up --adopt": it then'
                ' fires before ours; or let it insert with "on conflict (id) do nothing". Nothing was changed'
            )
        return [one.name for one in (*held, *meeting)]

    def rehearse(self, names: Sequence[str]) -> list[str]:
        """Rehearse sign-ups before and after, and return all triggers that have to be taken over.

        Args:
            names: Those that have to be taken over in any case.

        Raises:
            MigrationRefused: Something would fail afterwards, or a migration will not touch what it found.
            MigrationFailed: A migration would fail.
            LockNotObtained: Somebody held a lock through all tries.
        """
        chosen = list(names)
        while True:
            before, after = self.work.rehearse(self.migrations, take_over=chosen, shows_warnings=self.shows_warnings)
            loss = self._loss(before, after)
            if loss is None:
                return chosen
            if not self.adopts or loss.trigger is None or not _can_move(loss.trigger, chosen):
                raise MigrationRefused(loss.sentence)
            chosen.append(loss.trigger.name)

    def _loss(self, before: Rehearsal, after: Rehearsal) -> Loss | None:
        for loss in after.losses_since(before):
            return loss
        if self.adopts:
            # Our triggers are there already, and a trigger that fires after them has failed ever since.
            for loss in after.problems():
                if loss.is_ours and loss.trigger is not None and _can_move(loss.trigger, ()):
                    return loss
        return None


def _can_move(trigger: Trigger, chosen: Sequence[str]) -> bool:
    """Return whether *trigger* fires after ours, and would fire before it under another name."""
    return trigger.name not in chosen and trigger.fires_after_ours
