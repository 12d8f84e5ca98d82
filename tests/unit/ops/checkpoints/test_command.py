"""``velro-auth checkpoint`` and ``velro-auth rollback`` as somebody at a terminal meets them, without a database."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from tests.fixtures.checkout import Checkout
from velro_auth.config.settings import specs
from velro_auth.ops.cli import main

#: One in every variable that there is, secret or not.
CANARIES = {spec.metadata["variable"]: f"canary-{number}" for number, spec in enumerate(specs())}
NOTHING: dict[str, str | None] = dict.fromkeys(CANARIES)


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, words, env={**NOTHING, **environment})


def test_a_checkpoint_says_how_to_share_it_and_how_to_come_back(checkout: Checkout) -> None:
    result = run("checkpoint", "--message", "before the hook", "--deployment-id", "abc-1")

    [tag] = checkout.tags()
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"made {tag}",
        f"to share it:  git push origin {tag}",
        f"to roll back: velro-auth rollback {tag}",
    ]
    assert "DATABASE_URL is not set: the checkpoint has no database part" in result.stderr
    shown = run("checkpoint", "list").output
    assert shown.split("  ")[0] == tag
    assert "deployment abc-1  before the hook" in shown


@pytest.mark.parametrize("name", ["user.name", "user.email"])
def test_without_an_identity_it_says_how_to_give_git_one(checkout: Checkout, name: str) -> None:
    checkout.git("config", "user.useConfigOnly", "true")
    checkout.git("config", "--unset", name)

    result = run("checkpoint")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: Git does not know who makes the tag: git config user.name 'Your Name', and git config user.email"
        " you@example.com"
    )
    assert checkout.tags() == []


def test_the_platform_names_the_deployment_where_nobody_else_does(checkout: Checkout) -> None:
    run("checkpoint", RAILWAY_DEPLOYMENT_ID="of-railway")

    assert "deployment of-railway" in run("checkpoint", "list").output


def test_what_is_not_committed_is_warned_of(checkout: Checkout) -> None:
    assert "not committed" not in run("checkpoint").stderr
    (checkout.folder / "second").touch()
    assert "there are changes that are not committed; the tag does not hold them" in run("checkpoint").stderr


def test_no_setting_gets_into_a_tag_or_out_of_a_command(checkout: Checkout) -> None:
    """Not even one that is no secret by name: a key may stand in the wrong variable."""
    canaries = CANARIES | {"RAILWAY_DEPLOYMENT_ID": "dep-1", "DATABASE_URL": ""}
    made = run("checkpoint", **canaries)
    [tag] = checkout.tags()

    planned = run("rollback", **canaries | {"DATABASE_URL": "postgresql://u:canary-x/y@host/db"})

    assert "SUPABASE_SECRET_KEY" in checkout.message(tag)
    assert "made without DATABASE_URL" in planned.output
    for text in (made.output, checkout.message(tag), planned.output, run("checkpoint", "list").output):
        assert "canary" not in text


def test_a_plan_has_three_parts_and_what_one_lacks_keeps_nobody_from_the_others(checkout: Checkout) -> None:
    run("checkpoint")
    checkout.commit("second")
    before = checkout.git("for-each-ref")

    result = run("rollback")

    assert result.exit_code == 0
    assert "\nGit\n  1 commit since then\n" in result.output
    assert "\nRailway\n  " in result.output
    assert "\nDatabase\n  rollback-" in result.output
    assert checkout.git("for-each-ref") == before
    assert checkout.git("status", "--porcelain") == ""


def test_a_checkpoint_without_a_database_cannot_bring_one_back(checkout: Checkout) -> None:
    run("checkpoint")

    result = run("rollback", "--apply-database", "--yes")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: rollback-")
    assert "made without DATABASE_URL, so it names no migrations" in result.stderr
    assert len(checkout.tags()) == 1


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["rollback"], 1, "There is no checkpoint; make one with velro-auth checkpoint"),
        (["rollback", "nope"], 1, "There is no tag nope"),
        (["rollback", "plain"], 1, "The tag plain is no checkpoint"),
        (["rollback", "--sideways"], 2, "No such option"),
        (["checkpoint", "--database-url", "https://x.supabase.co"], 1, "DATABASE_URL is a web address"),
    ],
)
def test_what_is_not_possible_is_one_sentence(checkout: Checkout, words: list[str], status: int, sentence: str) -> None:
    checkout.git("tag", "plain")

    result = run(*words)

    assert result.exit_code == status
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert checkout.tags() == ["plain"]


def test_without_a_checkpoint_the_list_says_so(checkout: Checkout) -> None:
    assert run("checkpoint", "list").output == "There is no checkpoint.\n"


def test_a_damaged_one_is_listed_with_its_trouble(checkout: Checkout) -> None:
    run("checkpoint")
    message = checkout.message(checkout.tags()[0]).partition("\n\n")[2]
    checkout.git(
        "tag", "--annotate", "--file=-", "rollback-damaged", given=message.replace('"note": ""', '"note": "x"')
    )

    assert "rollback-damaged  The checkpoint rollback-damaged was edited" in run("checkpoint", "list").output
