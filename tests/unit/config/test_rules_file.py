"""The file of rules: each mistake with its line and what to write."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.auth.access_rules import AccessRule
from velro_auth.auth.requirements import Requirements
from velro_auth.config.reload import SIZE
from velro_auth.config.rules_file import MAX_BYTES, parsed, read_rules_file
from velro_auth.config.settings import Settings

EXAMPLE = Path(__file__).parents[3] / "examples" / "protected-site" / "rules.toml"
HEAD = '# a comment\n[[rules]]\npath = "/a"\nallow = "public"\n\n[[rules]]\n'


def test_the_example_is_understood() -> None:
    found = read_rules_file(str(EXAMPLE))

    assert found.errors == ()
    assert found.rules is not None
    assert [rule.name for rule in found.rules.rules] == ["everybody", "administrators", "members"]


def test_a_rule_has_all_that_is_written() -> None:
    text = HEAD + (
        'path = ["/b", "/c/**"]\nhost = ["app.example.com", "*.example.org"]\nmethods = ["GET", "POST"]\n'
        'allow = "signed-in"\nrole = ["editor", "admin"]\naal = "aal2"\nname = "b"\n'
    )

    found = parsed(text, "rules.toml")

    assert found.rules is not None
    assert found.rules.rules[1] == AccessRule(
        allow="signed-in",
        paths=("/b", "/c/**"),
        hosts=("app.example.com", "*.example.org"),
        methods=("GET", "POST"),
        requirements=Requirements(roles=frozenset({"editor", "admin"}), aal="aal2"),
        name="b",
        line=6,
    )


@pytest.mark.parametrize(
    ("rule", "line", "advice"),
    [
        ('path = "/b"\n', 6, "write allow = one of 'public', 'signed-in', 'nobody'"),
        ('path = "/b"\nallow = "Public"\n', 8, "write allow = one of"),
        ('path = "/b"\nallow = ["public"]\n', 8, "write allow = one of"),
        ('allow = "public"\n', 6, "write path ="),
        ('allow = "public"\npath = []\n', 8, "not empty"),
        ('allow = "public"\npath = ""\n', 8, "not empty"),
        ('allow = "public"\npath = 7\n', 8, "a list of texts"),
        ('allow = "public"\npath = ["/b",\n "c"]\n', 8, "begins with one slash"),
        ('allow = "public"\npath = "/b/**/c"\n', 8, "only be at the end"),
        ('allow = "public"\npath = "/b/../c"\n', 8, "dot segment"),
        ('allow = "public"\npath = "/b"\npaths = "/c"\n', 9, "unknown key 'paths'"),
        ('allow = "public"\npath = "/b"\nrole = "admin"\n', 9, "need allow = 'signed-in'"),
        ('allow = "public"\npath = "/b"\naal = "aal2"\n', 9, "need allow = 'signed-in'"),
        ('allow = "signed-in"\npath = "/b"\naal = "aal7"\n', 9, "aal must be one of"),
        ('allow = "signed-in"\npath = "/b"\naal = ["aal2"]\n', 9, "aal must be one of"),
        ('allow = "signed-in"\npath = "/b"\nrole = "a=b"\n', 9, "role must be the name of a role"),
        ('allow = "signed-in"\npath = "/b"\nrole = []\n', 9, "not empty"),
        ('allow = "public"\npath = "/b"\nmethods = "get"\n', 9, "in capitals"),
        ('allow = "public"\npath = "/b"\nhost = "a.example:80"\n', 9, "without a port"),
        ('allow = "public"\npath = "/b"\nname = 7\n', 9, "name is a text"),
    ],
)
def test_a_mistake_has_its_line_and_what_to_write(rule: str, line: int, advice: str) -> None:
    found = parsed(HEAD + rule, "rules.toml")

    assert found.rules is None
    [error] = found.errors
    assert str(error).startswith(f"AUTH_RULES_FILE: rules.toml, line {line}: ")
    assert advice in str(error)


def test_all_mistakes_are_told_at_once() -> None:
    found = parsed(HEAD + 'path = "b"\nallow = "all"\n[[rules]]\nrolle = "x"\n', "rules.toml")

    assert len(found.errors) == 5


@pytest.mark.parametrize(
    "text", ["", "x = 1", "rules = 3", "rules = []", "[[rules]\n", HEAD + "[other]\nx = 1\n", "\0"]
)
def test_what_is_no_list_of_rules_is_a_mistake(text: str) -> None:
    found = parsed(text, "rules.toml")

    assert found.rules is None
    assert "rules.toml" in str(found.errors[0])


@given(value=st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)))
def test_no_value_of_any_kind_raises(value: Any) -> None:
    for key in ("path", "host", "methods", "allow", "role", "aal", "name"):
        text = "" if value is None else f"{key} = {value!r}\n".replace("None", "true")
        found = parsed(HEAD + text, "rules.toml")
        assert (found.rules is None) == bool(found.errors)


@pytest.mark.parametrize(
    ("data", "advice"),
    [(b"\xff\xfe", "UTF-8"), (b"#" * (MAX_BYTES + 1), "larger than"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_used_is_an_error_of_the_settings(
    tmp_path: Path, data: bytes | None, advice: str
) -> None:
    path = tmp_path / "rules.toml"
    if data is not None:
        path.write_bytes(data)

    settings = Settings.from_environment({"AUTH_RULES_FILE": str(path)})

    assert settings.access_rules is None
    assert any(error.variable == "AUTH_RULES_FILE" and advice in error.advice for error in settings.errors)


def test_the_rules_go_to_the_workers_with_the_settings() -> None:
    settings = Settings.from_environment({"AUTH_RULES_FILE": str(EXAMPLE)})

    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 (our own)

    assert again.access_rules == settings.access_rules
    assert again.access_rules is not None


def test_a_full_file_fits_into_the_memory_that_the_workers_share() -> None:
    rule = '[[rules]]\npath="/{}"\nallow="nobody"\n'
    text = "".join(rule.format(number) for number in range(MAX_BYTES // 45))
    rules = parsed(text, "x").rules

    assert rules is not None
    assert len(rules.rules) > 1000
    assert len(pickle.dumps(rules)) < SIZE / 2


def test_a_file_of_windows_is_read_alike() -> None:
    text = EXAMPLE.read_text("utf-8")

    assert parsed(text.replace("\n", "\r\n"), "x").rules == parsed(text, "x").rules


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000, "[" * 3000 + "]" * 3000])
def test_what_python_itself_cannot_read_is_a_mistake_too(value: str) -> None:
    found = parsed(HEAD + f'path = "/b"\nallow = {value}\n', "rules.toml")

    assert found.rules is None
    assert [str(error).partition(" has ")[0] for error in found.errors] == ["AUTH_RULES_FILE: rules.toml"]
