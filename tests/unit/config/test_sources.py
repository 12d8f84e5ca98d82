"""The environment file: read as everybody writes it, and every mistake in it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from velro_auth.config.sources import MAX_BYTES, EnvFile, read_env_file
from velro_auth.config.validation import SettingError


def read(folder: Path, text: str | bytes) -> EnvFile:
    path = folder / "velro.env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_env_file(str(path))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        ("export NAME=value", "value"),
        ("NAME = value  # why", "value"),
        ("NAME='one # two'", "one # two"),
        ('NAME="one\\ntwo"', "one\ntwo"),
        ("NAME='first line\nsecond line'", "first line\nsecond line"),
        ("NAME=pa$$word${OTHER}", "pa$$word${OTHER}"),
        ('NAME=["https://a.example.com"]', '["https://a.example.com"]'),
        ("NAME=", ""),
        ("NAME=first\nNAME=second", "second"),
        ("\ufeffNAME=value\r\n", "value"),
    ],
)
def test_a_line_is_read_as_people_write_it(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, f"# a comment\n\n{line}\n" if line[0] != "\ufeff" else line) == EnvFile(
        variables={"NAME": value}, errors=[]
    )


def test_no_path_is_no_file() -> None:
    assert read_env_file("") == EnvFile()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GOOD=1\nBAD canary\n", "line 2: write NAME=value"),
        ("BAD_canary", "line 1: write NAME=value"),
        ("BAD='canary\n", "line 1: write NAME=value"),
        (b"BAD=\xffcanary", "no text in UTF-8"),
        ("BAD=" + "canary" * MAX_BYTES, "larger than 64 KiB"),
    ],
)
def test_what_cannot_be_understood_is_a_mistake_that_does_not_repeat_it(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    (mistake,) = read(tmp_path, text).errors

    assert mistake.variable == "AUTH_ENV_FILE"
    assert words in mistake.advice
    assert "canary" not in str(mistake)


@pytest.mark.parametrize(("name", "words"), [("missing.env", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, name: str, words: str) -> None:
    path = str(tmp_path / name)

    (mistake,) = read_env_file(path).errors

    assert isinstance(mistake, SettingError)
    assert path in mistake.advice
    assert words in mistake.advice


def test_the_values_are_not_in_the_repr(tmp_path: Path) -> None:
    assert "canary" not in repr(read(tmp_path, "SUPABASE_SECRET_KEY=canary"))
