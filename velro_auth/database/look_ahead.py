"""Finds out, before anything is changed, what a project has in the way of the migrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from velro_auth.database import beforehand, rehearsal, sqlfiles
from velro_auth.database.errors import MigrationRefused
from velro_auth.database.files import Migration
from velro_auth.database.rehearsal import Loss, Rehearsal
from velro_auth.database.work import Work


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
        """Return the triggers that have to be taken over because they have names of ours; only reads.

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
            held = [one for one in rehearsal.triggers(connection) if one.name in rehearsal.TRIGGER_NAMES]
        if found:
            raise MigrationRefused(f"{found[0]}. Nothing was changed")
        if held and beforehand.MIRROR in versions and not self.adopts:
            raise MigrationRefused(
                f"auth.users has a trigger {held[0].name} of yours, which calls {held[0].function}; take it over with"
                ' "velro-auth db up --adopt": it goes on running, before ours. Nothing was changed'
            )
        return [one.name for one in held]

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
            if not self.adopts or loss.trigger is None or not _can_move(loss.trigger.name, chosen):
                raise MigrationRefused(loss.sentence)
            chosen.append(loss.trigger.name)

    def _loss(self, before: Rehearsal, after: Rehearsal) -> Loss | None:
        for loss in after.losses_since(before):
            return loss
        if self.adopts:
            # Our triggers are there already, and a trigger that fires after them has failed ever since.
            for loss in after.problems():
                if loss.is_ours and loss.trigger is not None and _can_move(loss.trigger.name, ()):
                    return loss
        return None


def _can_move(name: str, chosen: Sequence[str]) -> bool:
    """Return whether the trigger *name* fires after ours, and would fire before it under another name."""
    return name not in chosen and name > rehearsal.TRIGGER_NAMES[0]
