"""The way back of a database: what is to be taken back, what to be applied again, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration
from velro_auth.ops.database import State, Status
from velro_auth.ops.database.files import Migration


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """How a database gets to exactly the migrations that a checkpoint remembers.

    Attributes:
        failure_delay: The newest migration that is there now and in the checkpoint; empty where there is none.
        take_back: What was applied since, newest first; all of it is newer than the floor.
        apply: What is missing by now and can be applied again, oldest first.
        obstacles: What keeps the database from being as the checkpoint says, in sentences.
        remarks: What is worth knowing and stands in nobody's way, in sentences.
    """

    latest_shared: str
    take_back: tuple[AppliedMigration, ...]
    apply: tuple[Migration, ...]
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.take_back and not self.apply


def applied_now(statuses: Sequence[Status]) -> tuple[AppliedMigration, ...]:
    """Return what is applied, for a checkpoint to remember."""
    return tuple(
        AppliedMigration(one.version, one.label, one.checksum) for one in statuses if one.state is not State.PENDING
    )


def way_back(then: Sequence[AppliedMigration], statuses: Sequence[Status], files: Sequence[Migration]) -> RollbackPlan:
    """Return the way from what a database has now to what it had *then*; knows no database.

    Args:
        then: What the checkpoint remembers.
        statuses: Where each migration stands now.
        files: The migrations of this release.
    """
    now = {one.version: one for one in applied_now(statuses)}
    wanted = {one.version: one for one in then}
    latest_shared = max(now.keys() & wanted.keys(), default="")
    since = [now[version] for version in sorted(now.keys() - wanted.keys(), reverse=True)]
    apply, unavailable = _missing([wanted[version] for version in sorted(wanted.keys() - now.keys())], files)
    beneath = [
        f"{one.label} was applied since then, but beneath {wanted[latest_shared].label}, which the checkpoint has: it"
        " cannot be taken back alone"
        for one in since
        if one.version < latest_shared
    ]
    return RollbackPlan(
        latest_shared=latest_shared,
        take_back=tuple(one for one in since if one.version > latest_shared),
        apply=apply,
        obstacles=(*beneath, *unavailable),
        remarks=tuple(_remarks(wanted, now, statuses)),
    )


def _missing(
    missing: Sequence[AppliedMigration], files: Sequence[Migration]
) -> tuple[tuple[Migration, ...], tuple[str, ...]]:
    """Return what can be applied again, and why the rest cannot; what comes after a gap waits."""
    known = {one.version: one for one in files}
    apply: list[Migration] = []
    for number, one in enumerate(missing):
        file = known.get(one.version)
        if file is None or (one.checksum and file.checksum != one.checksum):
            why = "its file is not here" if file is None else "its file here is another one"
            return tuple(apply), (
                f"{one.label} was applied then and is missing now, but {why}: check out the checkpoint's commit first",
                *(f"{later.label} was applied, too, and waits for it" for later in missing[number + 1 :]),
            )
        apply.append(file)
    return tuple(apply), ()


def _remarks(
    wanted: dict[str, AppliedMigration], now: dict[str, AppliedMigration], statuses: Sequence[Status]
) -> Iterator[str]:
    for version in sorted(wanted.keys() & now.keys()):
        then, today = wanted[version], now[version]
        if then.checksum and today.checksum and then.checksum != today.checksum:
            yield f"{today.label} was applied anew since then, with other SQL"
    for one in statuses:
        if one.state is State.EDITED:
            yield f"{one.label}: the file here was edited after it was applied; what is applied stays as it was"
