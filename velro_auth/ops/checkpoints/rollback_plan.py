"""Plans and runs the database part of a rollback to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from velro_auth.ops.checkpoints.checkpoint import AppliedMigration
from velro_auth.ops.database import Runner, State, Status
from velro_auth.ops.database.files import Migration


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The steps that bring a database to exactly the migrations of a checkpoint.

    Attributes:
        latest_shared: The newest migration that both the database and the checkpoint have; empty where there is none.
        roll_back: What was applied since, newest first; all of it is newer than *latest_shared*.
        apply: What is missing now and can be applied again, oldest first.
        blockers: What the plan cannot do, as sentences.
        remarks: Other differences that are worth knowing, as sentences.
    """

    latest_shared: str
    roll_back: tuple[AppliedMigration, ...]
    apply: tuple[Migration, ...]
    blockers: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.roll_back and not self.apply


def applied_now(statuses: Sequence[Status]) -> tuple[AppliedMigration, ...]:
    """Return the applied migrations, for a checkpoint."""
    return tuple(AppliedMigration(one.version, one.label, one.checksum) for one in statuses if one.state.is_applied)


def plan_rollback(
    then: Sequence[AppliedMigration], statuses: Sequence[Status], files: Sequence[Migration]
) -> RollbackPlan:
    """Return the plan that leads to the migrations *then*, with the *files* of this release; asks no database."""
    now = {one.version: one for one in applied_now(statuses)}
    wanted = {one.version: one for one in then}
    latest_shared = max(now.keys() & wanted.keys(), default="")
    since = [now[version] for version in sorted(now.keys() - wanted.keys(), reverse=True)]
    apply, unavailable = _missing([wanted[version] for version in sorted(wanted.keys() - now.keys())], files)
    beneath = [
        f"{one.label} was applied since then, but beneath {wanted[latest_shared].label}, which the checkpoint has: it"
        " cannot be rolled back alone"
        for one in since
        if one.version < latest_shared
    ]
    return RollbackPlan(
        latest_shared=latest_shared,
        roll_back=tuple(one for one in since if one.version > latest_shared),
        apply=apply,
        blockers=(*beneath, *unavailable),
        remarks=tuple(_remarks(wanted, now, statuses)),
    )


def _missing(
    missing: Sequence[AppliedMigration], files: Sequence[Migration]
) -> tuple[tuple[Migration, ...], tuple[str, ...]]:
    """Return what can be applied again, and why the rest cannot; nothing is applied after a gap."""
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


def run_rollback(runner: Runner, plan: RollbackPlan, *, drop_data: bool = False) -> Iterator[str]:
    """Run *plan* step by step, and yield each step that was done; keeps data unless *drop_data*.

    Nothing up to ``plan.latest_shared`` is rolled back, even if the database has changed since the plan was made.

    Raises:
        DatabaseError: A step failed; the steps that were yielded are done.
    """
    if plan.roll_back:
        down = runner.down(steps=len(plan.roll_back), to=plan.latest_shared or None, drop_data=drop_data)
        yield from (f"rolled back {step.label}" for step in down)
    if plan.apply:
        # A runner of these files only: one of all files would refuse to run because of an edited other file.
        asked_for = [replace(one, is_optional=False) for one in plan.apply]
        yield from (f"applied {step.label}" for step in replace(runner, migrations=asked_for).up())
