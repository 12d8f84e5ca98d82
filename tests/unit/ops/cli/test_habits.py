"""What every command has in common: examples, exit statuses, ``--json``, errors of one sentence, colours."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.fixtures.programs import ROOT, clean_environment
from tests.test_runbook import commands as commands_of
from tests.test_runbook import unknown
from velro_auth import __version__
from velro_auth.ops.cli import click_helpers, main
from velro_auth.ops.cli.command_page import command_page, walk
from velro_auth.ops.cli.help_texts import texts

ALL = dict(walk(main))
LEAVES = {path: one for path, one in ALL.items() if not isinstance(one, click.Group) or one.invoke_without_command}

#: Commands that print nothing that a program would read: they start or change something, or print a file.
NO_REPORT = {
    "dev",
    "dev add-user",
    "init",
    "serve",
    "config example",
    "config reference",
    "config commands",
    "db up",
    "db down",
    "db backfill",
    "db export",
    "checkpoint",
    "user end-sessions",
    "user ban",
    "user unban",
    "user remove-factor",
    "guard release",
    "completion",
}

#: What a command needs to be called at all.
ARGUMENTS = {
    "dev add-user": ["ada@example.com"],
    "db export": ["out"],
    "user sessions": ["ada@example.com"],
    "user end-sessions": ["ada@example.com"],
    "user ban": ["ada@example.com"],
    "user unban": ["ada@example.com"],
    "user remove-factor": ["ada@example.com"],
    "guard show": ["ada@example.com"],
    "guard release": ["ada@example.com"],
    "audit verify": ["audit.jsonl"],
    "monitor report": ["observe.jsonl"],
    "completion": ["bash"],
    "db down": ["--yes"],
    "init": ["--yes", "--no-check"],
    "health": ["--port", "9"],
    "bench": ["--url", "http://127.0.0.1:9", "--rps", "1", "--duration", "0.5"],
    "monitor": ["--url", "http://127.0.0.1:9", "--duration", "1", "--interval", "0.3", "--output-dir", "logs"],
    "prove enumeration": ["--url", "http://127.0.0.1:9", "--samples", "1"],
    "reload": ["--pid", "1"],
    "rules explain": ["GET", "https://app.example.com/"],
}
#: They run until they are told to stop.
ENDLESS = {"dev", "serve"}


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and no variable of ours."""
    for name in {*__import__("os").environ} - {*clean_environment()}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUTH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audit.jsonl").write_text("")
    (tmp_path / "observe.jsonl").write_text("")
    return tmp_path


def call(path: str, *more: str) -> Result:
    return CliRunner().invoke(main, [*path.split(), *more])


def statuses(path: str) -> set[int]:
    """Return the exit statuses that a command documents."""
    text = ALL[path].epilog or ""
    return {int(number) for number in re.findall(r"\b(\d+)\b", text.partition("Exit status:")[2])}


@pytest.mark.parametrize("path", ALL)
def test_every_command_has_examples_that_are_commands(path: str) -> None:
    examples = texts()[path or "velro-auth"]["examples"]

    assert examples
    for line in examples:
        assert f"velro-auth {path}".strip() in line or not path
        for words in commands_of(f"```\n{line}\n```"):
            assert unknown(words) is None, line
        assert line in (ALL[path].epilog or "")


def test_no_command_that_is_gone_has_examples() -> None:
    assert texts().keys() - {"velro-auth"} == ALL.keys() - {""}


@pytest.mark.parametrize("path", ALL)
def test_every_help_ends_with_the_exit_statuses_and_says_them_once(path: str) -> None:
    done = call(path, "--help")

    assert done.exit_code == 0
    assert len(re.findall(r"exit status", done.output, re.IGNORECASE)) == 1
    assert 0 in statuses(path) or not path


@pytest.mark.parametrize("path", ALL)
def test_every_option_says_what_it_does(path: str) -> None:
    silent = [one.name for one in ALL[path].params if isinstance(one, click.Option) and not (one.help or one.hidden)]

    assert [name for name in silent if name != "port"] == []


@pytest.mark.parametrize("path", LEAVES)
def test_everything_that_reports_does_so_in_json_too(path: str) -> None:
    has = any(option.name == "as_json" for option in ALL[path].params)

    assert has == (
        path not in NO_REPORT and path not in {"", "db", "audit", "prove", "config", "guard", "user", "rules"}
    )


@pytest.mark.parametrize("path", sorted(LEAVES.keys() - ENDLESS - {""}))
def test_what_cannot_be_done_is_one_sentence_and_a_documented_status(path: str, nothing_set: Path) -> None:
    """Nothing is set, nothing runs, the folder is empty: each command ends, and says what to do."""
    done = call(path, *ARGUMENTS.get(path, []))

    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in statuses(path), (done.exit_code, done.output)
    assert "Traceback" not in done.output
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) <= 1
    assert done.exit_code == 0 or done.output.strip()


def json_commands() -> list[str]:
    return sorted(path for path, one in ALL.items() if any(option.name == "as_json" for option in one.params))


@pytest.mark.parametrize("path", json_commands())
def test_standard_output_is_one_document_or_nothing(path: str, nothing_set: Path) -> None:
    done = call(path, *ARGUMENTS.get(path, []), "--json")

    assert done.exit_code in statuses(path), done.output
    if done.stdout.strip():
        json.loads(done.stdout)
    else:
        assert done.exit_code != 0
        assert done.stderr.strip()


def test_the_reference_page_is_what_the_commands_are() -> None:
    assert (ROOT / "docs/reference/command-line.md").read_text("utf-8") == command_page(main), (
        "run: velro-auth config commands > docs/reference/command-line.md"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    done = call("completion", shell)

    assert done.exit_code == 0
    assert "_VELRO_AUTH_COMPLETE" in done.output
    variables = {
        "_VELRO_AUTH_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "velro-auth db sta",
        "COMP_CWORD": "sta" if shell == "fish" else "2",
    }
    command = [sys.executable, "-c", "from velro_auth.ops.cli import main; main(prog_name='velro-auth')"]
    asked = subprocess.run(
        command, env=clean_environment(**variables), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert "status" in asked.stdout, asked.stderr


def test_the_version_has_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMIT", "1f2e3d4c5b6a798897a6b5c4d3e2f1a0b9c8d7e6")
    monkeypatch.delenv("RAILWAY_GIT_COMMIT_SHA", raising=False)

    assert call("--version").output == f"velro-auth {__version__} (commit 1f2e3d4c5b6a)\n"


def test_a_checkout_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_COMMIT", "RAILWAY_GIT_COMMIT_SHA"):
        monkeypatch.delenv(name, raising=False)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()

    assert f"(commit {head[:12]}" in call("--version").output


@pytest.mark.parametrize(("words", "variables"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_colours_are_left_out_on_demand(
    words: list[str], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    @click.command("look")
    def look() -> None:
        console = click_helpers.console()
        seen["no_color"] = console.no_color

    monkeypatch.setitem(main.commands, "look", look)
    monkeypatch.setattr(type(main), "get_command", lambda self, _, name: self.commands[name])
    for name in ("NO_COLOR", *variables):
        monkeypatch.delenv(name, raising=False)

    assert CliRunner().invoke(main, ["look"]).exit_code == 0
    assert seen == {"no_color": False}
    done = CliRunner().invoke(main, [*words, "look"], env=variables)
    assert (done.exit_code, seen) == (0, {"no_color": True})


def test_nothing_but_text_goes_into_a_pipe(nothing_set: Path) -> None:
    """Neither colours nor a spinner."""
    command = [sys.executable, "-m", "velro_auth", *shlex.split("guard budget --clients 2")]

    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(FORCE_COLOR=""), capture_output=True, check=True, timeout=120
    )

    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr == b""
