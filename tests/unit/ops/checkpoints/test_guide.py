"""What a person is told to do leads where it says."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from tests.fixtures.checkout import Checkout
from tests.unit.ops.checkpoints.samples import AT, checkpoint
from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.checkpoint import Fingerprint
from velro_auth.ops.checkpoints.git import Tags
from velro_auth.ops.checkpoints.guide import git_lines, railway_lines

SETTINGS = Settings.from_environment({})

NOTHING = "Nothing to do: what is checked out holds the same files as the checkpoint."


def lines(checkout: Checkout, tag: str) -> list[str]:
    return list(git_lines(checkout.repository, tag, Tags(checkout.repository).read(tag)))


def do(checkout: Checkout, told: list[str], first: str) -> None:
    """Run the commands that a person would copy, from the one that is introduced by *first*."""
    start = next(number for number, line in enumerate(told) if line.startswith(first))
    for line in told[start:]:
        command = line[line.index("git ") :]
        subprocess.run(command, cwd=checkout.folder, shell=True, check=True, capture_output=True)  # noqa: S602


def test_the_commands_bring_the_code_back_on_the_branch(checkout: Checkout) -> None:
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    checkout.commit("second", "2")
    checkout.commit("first", "changed")

    told = lines(checkout, tag)
    assert told[0] == "2 commits since then"
    assert told[1].endswith("add first")
    do(checkout, told, "on the branch:")

    assert checkout.git("rev-parse", "HEAD^{tree}") == checkout.git("rev-parse", f"{tag}^{{tree}}")
    assert checkout.git("branch", "--show-current") == "main"
    assert lines(checkout, tag) == [NOTHING]


def test_the_commands_get_past_a_merge_too(checkout: Checkout) -> None:
    """git revert would stop there and ask which side to keep."""
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    checkout.git("switch", "--quiet", "--create", "side")
    checkout.commit("side")
    checkout.git("switch", "--quiet", "main")
    checkout.commit("second")
    checkout.git("merge", "--quiet", "--no-edit", "side")

    do(checkout, lines(checkout, tag), "on the branch:")

    assert checkout.git("rev-parse", "HEAD^{tree}") == checkout.git("rev-parse", f"{tag}^{{tree}}")


def test_at_the_checkpoint_there_is_nothing_to_do_in_git(checkout: Checkout) -> None:
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    head = checkout.commit("second")
    checkout.git("switch", "--quiet", "--detach", tag)

    assert lines(checkout, tag) == [NOTHING]
    assert checkout.git("rev-parse", "main") == head


def test_a_checkpoint_of_another_branch_is_told_apart(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--create", "side")
    checkout.commit("side")
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    checkout.git("switch", "--quiet", "main")
    checkout.commit("second")

    told = lines(checkout, tag)
    assert "The checkpoint is not part of what is checked out here: it has 1 commit of its own." in told
    do(checkout, told, "on the branch:")

    assert checkout.git("rev-parse", "HEAD^{tree}") == checkout.git("rev-parse", f"{tag}^{{tree}}")


def test_what_a_commit_calls_itself_cannot_give_orders_to_a_terminal(checkout: Checkout) -> None:
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    checkout.commit("\x1b[2J")

    assert not any("\x1b" in line for line in lines(checkout, tag))


def test_changes_that_are_not_committed_are_mentioned(checkout: Checkout) -> None:
    tag = Tags(checkout.repository).make(settings=SETTINGS)
    (checkout.folder / "first").write_text("changed")

    assert "not committed" in lines(checkout, tag)[-1]


@pytest.mark.parametrize(("hours", "age"), [(0.5, "0.5 hours"), (71, "71.0 hours"), (240, "10 days")])
def test_railway_is_told_by_deployment_image_and_settings(hours: float, age: str) -> None:
    now = Fingerprint.of(Settings.from_environment({"LOG_LEVEL": "debug"}))

    told = "\n".join(railway_lines(checkpoint(), "rollback-1", now, AT + timedelta(hours=hours)))

    assert "Deployments, 9288283e-34ab-4f67-affb-13e9ee47fc14, its three dots, Rollback" in told
    assert "Free 24 h, Hobby 72 h, Pro 120 h, Enterprise 360 h" in told
    assert f"the checkpoint is {age} old" in told
    assert "LOG_LEVEL: another value" in told
    assert "SUPABASE_SECRET_KEY: no longer set" in told


def test_a_checkpoint_without_a_deployment_leads_to_the_one_from_before() -> None:
    unnamed = checkpoint(deployment_id=None)

    told = "\n".join(railway_lines(unnamed, "rollback-1", unnamed.settings, AT))

    assert "from before 2026-11-25 21:11 UTC" in told
    assert "no difference seen" in told
