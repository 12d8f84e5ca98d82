"""Every alert has its section in the runbook, every section its alert, and what a page tells to type exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.conftest import ENVIRONMENT
from velro_auth.config.settings import Settings
from velro_auth.ops.cli import COMMANDS, main
from velro_auth.telemetry import issued_tokens, slo
from velro_auth.telemetry.alerts import EVENTS, RUNBOOK
from velro_auth.wiring import wire

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / RUNBOOK.rstrip("#")
RULES = (ROOT / "deploy" / "prometheus" / "velro-auth.rules.yml").read_text("utf-8")
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md")})

#: What is logged as a warning and wants nothing of anybody.
GOOD_NEWS = {"the shared store answers again"}


def slug(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(title: str) -> dict[str, str]:
    """Return the sections below one title of the runbook: heading → text."""
    below = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    [part] = [part for part in below if part.startswith(title)]
    heads = re.split(r"^### (.+)$", part, flags=re.MULTILINE)
    return dict(zip(heads[1::2], heads[2::2], strict=True))


def every_section() -> dict[str, str]:
    return sections("Prometheus rules") | sections("The service level") | sections("Lines of the log")


def logged() -> set[str]:
    """Return the beginning of every warning and error that the service logs: all before the first value in it."""
    files = [path for path in (ROOT / "velro_auth").rglob("*.py") if "standin" not in path.parts]
    texts = {text for path in files for node in ast.walk(ast.parse(path.read_text("utf-8"))) for text in warning(node)}
    return {re.split(r"[:(]? ?\(?%", text)[0].strip() for text in texts} | set(EVENTS.values())


def warning(node: ast.AST) -> Iterator[str]:
    """Yield the text of a call that logs a warning or worse."""
    match node:
        case ast.Call(
            func=ast.Attribute(
                value=ast.Name(id="log" | "logger"), attr="warning" | "error" | "exception" | "critical"
            ),
            args=[ast.Constant(value=str(text)), *_],
        ):
            yield text


def test_every_prometheus_rule_has_its_section_and_leads_there() -> None:
    rules = dict(re.findall(r"alert: (\w+)\n(?:.*\n)*?\s+runbook_url: (\S+)", RULES))

    assert rules.keys() == set(re.findall(r"alert: (\w+)", RULES)) == sections("Prometheus rules").keys()
    assert rules == {name: RUNBOOK + slug(name) for name in rules}


def test_every_alert_of_the_service_has_its_section() -> None:
    """The webhook leads there by the name of the alert."""
    names = {*(rule.name for rule in slo.rules(slo.SloTarget())), issued_tokens.ALERT}

    assert sections("The service level").keys() == names
    assert {slug(name) for name in names} == names


def test_every_event_has_its_section() -> None:
    assert set(EVENTS) <= sections("Lines of the log").keys()


def test_every_warning_of_the_log_is_in_the_runbook() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())

    assert {line for line in logged() - GOOD_NEWS if f"`{line}" not in text} == set()


def test_every_section_about_the_log_quotes_a_line_that_is_logged() -> None:
    lines = logged() | {"log lines were dropped"}  # written by the sink itself, past the log

    for heading, text in sections("Lines of the log").items():
        quoted = re.findall(r"`([^`]+)`", text.partition("**Means**")[0])
        assert any(one.startswith(line) for one in quoted for line in lines), heading


def test_every_section_says_what_it_means_what_to_look_at_what_to_do_and_when_it_is_over() -> None:
    for heading, text in every_section().items():
        if heading == "VelroAuthLogLinesDropped":
            continue  # leads to the section of the log line
        for word in ("Means", "look at", "do", "Over when"):
            assert re.search(rf"\*\*{word}\*\*", text, re.IGNORECASE), (heading, word)


def test_every_metric_of_the_runbook_is_one_of_a_wired_service() -> None:
    rendered = wire(Settings.from_environment(ENVIRONMENT)).lasting.telemetry.render().decode()
    known = set(re.findall(r"^# TYPE (\S+) ", rendered, re.MULTILINE))
    asked = {name.removesuffix("_bucket") for name in re.findall(r"\bvelro_auth_\w+", PAGE.read_text("utf-8"))}

    assert asked <= known
    assert set(re.findall(r"velro_auth:[\w:]+", PAGE.read_text("utf-8"))) <= set(re.findall(r"record: (\S+)", RULES))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_to_a_section_finds_it(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", path.read_text("utf-8")):
        page = (path.parent / target) if target else path
        headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert anchor in {slug(heading) for heading in headings}, (target, anchor)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_names_exists_with_its_options(path: Path) -> None:
    for words in commands(path.read_text("utf-8")):
        wrong = unknown(words)
        assert wrong is None, (wrong, " ".join(words))


def commands(text: str) -> Iterator[list[str]]:
    """Yield what follows ``velro-auth`` in code: to the end of the code or of the line, a comment or a pipe."""
    blocks = re.findall(r"^ *```\w*\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?```", "", text, flags=re.DOTALL | re.MULTILINE))
    for code in [line for block in blocks for line in block.splitlines()] + inline:
        if found := re.match(r"\s*(?:\w+='?\S+ |railway run )*velro-auth (?P<rest>[^#|&;>]*)(?P<more>\|?)", code):
            words = shlex.split(found["rest"])
            yield words[:-1] if found["more"] and not found["rest"].endswith(" ") else words


def unknown(words: list[str]) -> str | None:
    """Return the first word that is neither a command, an option nor a value."""
    command: click.Command = main
    context = click.Context(command)
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            option = next((option for option in command.params if word in (*option.opts, *option.secondary_opts)), None)
            if not isinstance(option, click.Option):
                return None if word == "--help" else word
            if not option.is_flag:
                next(rest, None)  # its value
        elif isinstance(command, click.Group) and "…" not in word:
            if command is main and word not in COMMANDS:
                return word
            found = command.get_command(context, word)
            if found is None:
                return word
            command = found
    return None
