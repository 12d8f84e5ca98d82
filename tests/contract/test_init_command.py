"""``velro-auth init``: a file with the settings, and a look at the project."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supabase_standin import Standin
from velro_auth.config.settings import Settings, specs
from velro_auth.ops.cli.init import QUESTIONS, env_file, init

KEY = "sb_secret_0123456789abcdefghijklmnop"
ANSWERS = {
    "SUPABASE_URL": "https://abcdefghijklmnopqrst.supabase.co",
    "SUPABASE_SECRET_KEY": KEY,
    "CORS_ORIGINS": "https://app.example.com",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in QUESTIONS:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def run(*options: str, given: str | None = None, **variables: str) -> Result:
    return CliRunner().invoke(init, options, input=given, env=variables)


def settings(path: str = ".env") -> Settings:
    return Settings.from_environment({"AUTH_ENV_FILE": path})


def test_three_answers_make_a_file_that_is_fit_to_serve(folder: Path) -> None:
    done = run("--no-check", given="\n".join(ANSWERS.values()) + "\n")

    assert done.exit_code == 0, done.output
    assert settings().errors == ()
    assert settings().supabase_url == ANSWERS["SUPABASE_URL"]
    assert settings().supabase_secret_key == KEY
    assert settings().cors_origins == ("https://app.example.com",)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert "velro-auth serve" in done.output
    assert KEY not in done.output


def test_every_other_setting_is_in_it_as_a_comment() -> None:
    lines = env_file(ANSWERS).splitlines()

    assert all(
        sum(line.startswith((f"{name}=", f"#{name}=")) for line in lines) == 1
        for name in (spec.metadata["variable"] for spec in specs())
    )
    assert [line.partition("=")[0] for line in lines if line and not line.startswith("#")] == [
        *ANSWERS,
        "METRICS_TOKEN",
    ]


def test_a_wrong_answer_is_asked_for_again(folder: Path) -> None:
    given = ["abcdef", "http://example.com", ANSWERS["SUPABASE_URL"], "sb_publishable_0123456789abcdef", KEY, "*", ""]

    done = run("--no-check", given="\n".join(given) + "\n")

    assert done.exit_code == 0, done.output
    assert settings().supabase_url == ANSWERS["SUPABASE_URL"]
    assert settings().cors_origins == ()
    assert "must start with https://" in done.stderr
    assert "belongs into SUPABASE_PUBLISHABLE_KEY" in done.stderr


def test_yes_takes_the_environment_and_asks_nothing() -> None:
    done = run("--yes", "--no-check", given="", **ANSWERS)

    assert done.exit_code == 0, done.output
    assert settings().cors_origins == ("https://app.example.com",)


@pytest.mark.parametrize("missing", ["SUPABASE_URL", "SUPABASE_SECRET_KEY"])
def test_yes_without_an_answer_writes_nothing(folder: Path, missing: str) -> None:
    done = run("--yes", **{**ANSWERS, missing: ""})

    assert done.exit_code == 2
    assert missing in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("elsewhere")])
def test_a_file_that_is_there_stays(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / ".env")

    done = run("--yes", "--no-check", **ANSWERS)

    assert done.exit_code == 1
    assert "--force" in done.stderr
    assert not (folder / "elsewhere").exists()
    assert (folder / ".env").is_symlink() or (folder / ".env").read_text() == "mine"


def test_force_replaces_it_and_closes_it_to_others(folder: Path) -> None:
    (folder / ".env").write_text("mine")
    (folder / ".env").chmod(0o644)

    done = run("--yes", "--no-check", "--force", **ANSWERS)

    assert done.exit_code == 0, done.output
    assert settings().supabase_secret_key == KEY
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [".env"]


def test_a_key_with_every_kind_of_character_comes_back_as_it_was(folder: Path) -> None:
    key = "sb_secret_" + "".join(map(chr, range(0x21, 0x7F)))

    done = run("--yes", "--no-check", **{**ANSWERS, "SUPABASE_SECRET_KEY": key})

    assert done.exit_code == 0, done.output
    assert settings().supabase_secret_key == key
    # For other readers of such files, such as a shell.
    assert "SUPABASE_SECRET_KEY='sb_secret_" in (folder / ".env").read_text()


def test_a_folder_that_is_not_there_is_said() -> None:
    done = run("--yes", "--no-check", "--file", "nowhere/.env", **ANSWERS)

    assert done.exit_code == 1
    assert done.stderr == "Error: nowhere/.env cannot be written: No such file or directory.\n"


def project(standin: Standin, **changes: str) -> Mapping[str, str]:
    return {"SUPABASE_URL": standin.url, "SUPABASE_SECRET_KEY": standin.secret_key, "CORS_ORIGINS": "", **changes}


def test_a_project_that_takes_the_key_passes(standin_with: Callable[..., Standin]) -> None:
    done = run("--yes", "--file", "velro.env", **project(standin_with()))

    assert done.exit_code == 0, done.output
    assert "pass  upstream.key" in done.output
    assert done.output.endswith("velro-auth serve --env-file velro.env\n")


def test_a_project_that_refuses_the_key_is_said_and_the_file_stays(
    folder: Path, standin_with: Callable[..., Standin]
) -> None:
    done = run("--yes", **project(standin_with(), SUPABASE_SECRET_KEY=KEY))

    assert done.exit_code == 1
    assert "FAIL  upstream.key" in done.output
    assert (folder / ".env").exists()
    assert KEY not in done.output
