"""Checkpoints in a real git repository."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fixtures.checkout import Checkout
from tests.unit.ops.checkpoints.samples import AT, applied
from velro_auth.config.settings import Settings
from velro_auth.ops.checkpoints.checkpoint import (
    CheckpointError,
    DamagedCheckpoint,
    ForeignTag,
)
from velro_auth.ops.checkpoints.git import Repository, Tags

SETTINGS = Settings.from_environment({"RAILWAY_DEPLOYMENT_ID": "of-the-platform"})

FIRST = "rollback-20261125-2111"


@pytest.fixture
def tags(checkout: Checkout) -> Tags:
    return Tags(checkout.repository, now=lambda: AT)


def test_a_checkpoint_is_an_annotated_tag_of_what_is_checked_out(tags: Tags, checkout: Checkout) -> None:
    head = checkout.commit("second")

    made = tags.make(settings=SETTINGS, migrations=(applied(1),), note="#1\nbefore the hook")

    assert made == FIRST
    assert checkout.git("cat-file", "-t", made) == "tag"
    assert checkout.git("rev-parse", f"{made}^{{commit}}") == head
    assert "\n#1 before the hook\n" in checkout.message(made)
    found = tags.read(made)
    assert (found.commit, found.at, found.note) == (head, AT, "#1 before the hook")
    assert (found.deployment_id, found.migrations) == ("of-the-platform", (applied(1),))


def test_the_minute_of_the_name_is_that_of_utc(checkout: Checkout) -> None:
    made = Tags(checkout.repository).make(settings=SETTINGS)

    named = datetime.strptime(made, "rollback-%Y%m%d-%H%M").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - named) < timedelta(minutes=10)


def test_more_in_one_minute_are_numbered(tags: Tags) -> None:
    made = [tags.make(settings=SETTINGS) for _ in range(3)]

    assert made == [FIRST, f"{FIRST}-2", f"{FIRST}-3"]
    assert [found.tag for found in tags.all()] == made[::-1]


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(checkout: Checkout) -> None:
    checkout.git("tag", "taken")

    assert not checkout.repository.add_tag("taken", "message")
    assert checkout.git("cat-file", "-t", "taken") == "commit"


def test_the_newest_is_taken_but_none_that_a_rollback_made_and_no_foreign_tag(tags: Tags, checkout: Checkout) -> None:
    """A rollback without a name, twice, would otherwise go there and back."""
    made = tags.make(settings=SETTINGS)
    tags.make(settings=SETTINGS, before_rollback_to=made)
    checkout.git("tag", "rollback-99990101-0000")
    checkout.git("tag", "--annotate", "--message=by hand", "rollback-99990101-0001")

    assert tags.newest() == made
    assert [found.tag for found in tags.all()] == [f"{FIRST}-2", FIRST]


def test_a_damaged_checkpoint_is_shown_and_not_silently_passed_over(tags: Tags, checkout: Checkout) -> None:
    message = checkout.message(tags.make(settings=SETTINGS)).partition("\n\n")[2]
    checkout.git("tag", "--annotate", "--file=-", "rollback-20261126-0000", given=message[:-100])

    [damaged, whole] = tags.all()

    assert (damaged.checkpoint, whole.damage) == (None, "")
    assert "is incomplete" in damaged.damage
    assert tags.newest() == damaged.tag
    with pytest.raises(DamagedCheckpoint, match="rollback-20261126-0000 is incomplete"):
        tags.read(damaged.tag)


def test_a_tag_that_was_moved_is_noticed(tags: Tags, checkout: Checkout) -> None:
    made = tags.make(settings=SETTINGS)
    message = checkout.message(made).partition("\n\n")[2]
    checkout.commit("second")
    checkout.git("tag", "--annotate", "--force", "--cleanup=verbatim", "--file=-", made, given=message + "\n")

    with pytest.raises(DamagedCheckpoint, match="moved"):
        tags.read(made)


def test_what_is_no_checkpoint_is_said_so(tags: Tags, checkout: Checkout) -> None:
    checkout.git("tag", "plain")
    checkout.git("tag", "--annotate", "--message=v1", "v1")

    for name in ("plain", "v1"):
        with pytest.raises(ForeignTag, match=f"{name} is no checkpoint"):
            tags.read(name)
    for name in ("unknown", "--help", "../heads/main"):
        with pytest.raises(CheckpointError, match="git fetch --tags"):
            tags.read(name)
    with pytest.raises(CheckpointError, match="make one with velro-auth checkpoint"):
        tags.newest()


def test_changes_that_are_not_committed_are_seen(checkout: Checkout) -> None:
    assert not checkout.repository.is_dirty()
    (checkout.folder / "first").write_text("changed")
    assert checkout.repository.is_dirty()


def no_repository(checkout: Checkout) -> None:
    (checkout.folder / ".git").rename(checkout.folder / "gone")


def no_commit(checkout: Checkout) -> None:
    checkout.git("update-ref", "-d", "HEAD")


def no_identity(checkout: Checkout) -> None:
    checkout.git("config", "user.useConfigOnly", "true")
    checkout.git("config", "--unset", "user.email")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_repository, "not a git repository"),
        (no_commit, "Nothing is committed yet"),
        (no_identity, "Git does not know who makes the tag"),
    ],
)
def test_what_keeps_a_checkpoint_from_being_made_is_one_sentence(
    tags: Tags, checkout: Checkout, spoil: Callable[[Checkout], None], sentence: str
) -> None:
    spoil(checkout)

    with pytest.raises(CheckpointError, match=sentence) as caught:
        tags.make(settings=SETTINGS)

    assert "\n" not in str(caught.value)


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CheckpointError, match="git is not installed"):
        Repository(tmp_path).head()
