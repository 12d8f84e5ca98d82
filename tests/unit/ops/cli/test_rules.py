"""``velro-auth rules explain``: which rule decides, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from velro_auth.ops.cli import main

EXAMPLE = str(Path(__file__).parents[4] / "examples" / "protected-site" / "rules.toml")
SITE = "https://app.example.com"


def explain(*arguments: str, file: str = EXAMPLE) -> Result:
    return CliRunner().invoke(main, ["rules", "explain", *arguments, "--file", file])


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("GET", f"{SITE}/"), 0, "200  rule 'everybody' (line 3) allows everybody"),
        (("GET", SITE), 0, "200  rule 'everybody' (line 3) allows everybody"),
        (("GET", f"{SITE}/admin/x"), 1, "401  token_missing, or the way to the login: rule 'administrators' (line 9)"),
        (("GET", f"{SITE}/admin/x", "--as", "admin"), 0, "200  rule 'administrators' (line 9) needs a session, role"),
        (("GET", f"{SITE}/admin/x", "--as", "x"), 1, "403  forbidden: rule 'administrators' (line 9) needs a session"),
        (("get", f"{SITE}:8443/members?x=/", "--aal", "aal1"), 0, "200  rule 'members' (line 15) needs a session"),
        (("POST", f"{SITE}/"), 1, "403  forbidden: no rule matches"),
        (("GET", f"{SITE}/x/../admin", "--as", "admin"), 1, "403  forbidden: the path has a dot segment"),
        (("GET", f"{SITE}/Admin", "--as", "admin"), 1, "403  forbidden: the path leads to different rules"),
    ],
)
def test_it_says_who_decides(arguments: tuple[str, ...], status: int, line: str) -> None:
    result = explain(*arguments)

    assert result.exit_code == status
    assert result.output.splitlines()[-1].startswith(line)


def test_it_says_why_earlier_rules_do_not(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rules]]\nhost = "other.example"\npath = "/**"\nallow = "public"\n'
        '[[rules]]\npath = "/**"\nmethods = "POST"\nallow = "public"\n'
        '[[rules]]\npath = "/a"\nallow = "public"\n'
        '[[rules]]\npath = "/**"\nallow = "signed-in"\naal = "aal2"\n'
        '[[rules]]\npath = "/b"\nallow = "nobody"\n'
    )

    result = explain("GET", f"{SITE}/b", "--as", "admin", file=str(rules))

    assert result.output.splitlines() == [
        "     the rule of line 1: another host",
        "     the rule of line 5: another method",
        "     the rule of line 9: another path",
        "403  insufficient_aal: the rule of line 12 needs a session, aal2",
    ]
    assert explain("GET", f"{SITE}/b", "--aal", "aal2", file=str(rules)).exit_code == 0


def test_a_broken_file_is_told_with_its_line(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\npath = "b"\nallow = "public"\n')

    result = explain("GET", f"{SITE}/", file=str(rules))

    assert result.exit_code == 2, "1 is a request that is refused"
    assert "line 2: 'b': a path begins with one slash" in result.output


def test_a_missing_file_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "nowhere.toml"
    monkeypatch.delenv("AUTH_ENV_FILE", raising=False)
    monkeypatch.setenv("AUTH_RULES_FILE", str(missing))

    by_option = explain("GET", f"{SITE}/", file=str(missing))
    by_setting = CliRunner().invoke(main, ["rules", "explain", "GET", f"{SITE}/"])

    assert [by_option.exit_code, by_setting.exit_code] == [2, 2]
    assert str(missing) in by_option.output


def test_without_rules_or_a_whole_address_it_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTH_RULES_FILE", raising=False)
    monkeypatch.delenv("AUTH_ENV_FILE", raising=False)

    assert "AUTH_RULES_FILE is not set" in CliRunner().invoke(main, ["rules", "explain", "GET", f"{SITE}/"]).output
    assert "write https://app.example.com/path" in explain("GET", "/admin").output


def test_the_check_of_the_settings_finds_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\npath = "/b"\nallow = "all"\n')
    monkeypatch.setenv("AUTH_RULES_FILE", str(rules))

    result = CliRunner().invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert f"wrong  AUTH_RULES_FILE: {rules}, line 3: write allow = one of" in result.output
