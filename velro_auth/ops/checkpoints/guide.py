"""The steps of a rollback in git and on Railway, as lines with the exact commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from velro_auth.ops.checkpoints.checkpoint import Checkpoint, Fingerprint, one_line
from velro_auth.ops.checkpoints.git import Repository

#: Plan → hours for which Railway keeps the image of a deployment.
IMAGE_KEPT_H: Final = {"Free": 24, "Hobby": 72, "Pro": 120, "Enterprise": 360}

#: The most commits that are listed.
_MAX_COMMITS: Final = 20


def git_lines(repository: Repository, tag: str, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield how to roll back the code.

    Raises:
        CheckpointError: The commit of the checkpoint is not in this repository.
    """
    name, head = shlex.quote(tag), repository.head()
    if repository.tree(head) == repository.tree(checkpoint.commit):
        yield "Nothing to do: what is checked out holds the same files as the checkpoint."
    else:
        yield from _since(repository, checkpoint.commit, head)
        yield f"to run it:       git switch --detach {name}"
        yield from _on_the_branch(repository, name, checkpoint.commit, head)
    if repository.is_dirty():
        yield "There are changes here that are not committed: commit or stash them first."


def railway_lines(checkpoint: Checkpoint, tag: str, settings: Fingerprint, now: datetime) -> Iterator[str]:
    """Yield how to roll back the deployment."""
    age_h = (now - checkpoint.at).total_seconds() / 3600
    if checkpoint.deployment_id:
        yield f"In the dashboard: the service, Deployments, {checkpoint.deployment_id}, its three dots, Rollback."
    else:
        yield "The checkpoint does not name a deployment. In the dashboard: the service, Deployments, the newest one"
        yield f"from before {checkpoint.at:%Y-%m-%d %H:%M} UTC, its three dots, Rollback."
    yield "The image and its variables come back together. Images are kept by plan: " + ", ".join(
        f"{plan} {hours} h" for plan, hours in IMAGE_KEPT_H.items()
    )
    yield f"(the checkpoint is {_hours(age_h)} old). Where it is gone, build the commit anew, with today's variables:"
    yield f"  git switch --detach {shlex.quote(tag)} && railway up"
    differences = checkpoint.settings.differences(settings)
    yield "Settings as this shell has them, beside the checkpoint" + (":" if differences else ": no difference seen.")
    yield from (f"  {variable}: {how}" for variable, how in differences.items())


def _since(repository: Repository, then: str, head: str) -> Iterator[str]:
    commits = repository.commits(then, head)
    yield f"{_commits(len(commits))} since then"
    yield from (f"  {one_line(subject)}" for subject in commits[:_MAX_COMMITS])
    if len(commits) > _MAX_COMMITS:
        yield f"  and {len(commits) - _MAX_COMMITS} more"
    if left := len(repository.commits(head, then)):
        yield f"The checkpoint is not part of what is checked out here: it has {_commits(left)} of its own."


def _on_the_branch(repository: Repository, name: str, then: str, head: str) -> Iterator[str]:
    if repository.commits(head, then) or repository.has_merges(then, head):
        # git revert would stop at a merge and ask which side to keep.
        yield f"on the branch:   git restore --source={name} --staged --worktree :/"
        yield f"                 git commit --message={shlex.quote(f'Back to {name}')}"
    else:
        yield f"on the branch:   git revert --no-edit {name}..HEAD"


def _commits(count: int) -> str:
    return "1 commit" if count == 1 else f"{count} commits"


def _hours(hours: float) -> str:
    return f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.1f} hours"  # noqa: PLR2004
