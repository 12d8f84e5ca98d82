"""The commands and programs that the documentation shows are run as they stand there, against a local project."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.fixtures.page_blocks import ROOT, Block, Runner, blocks, node_binary, parsed
from tests.fixtures.programs import clean_environment, free_port, program
from tests.fixtures.standin import temporary_folder

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")})

#: On these every block is run, or says why not. The others follow.
COMPLETE = (
    "README.md",
    "docs/how-to/move-from-a-login-route.md",
    "docs/how-to/protect-a-python-backend.md",
    "docs/how-to/run.md",
    "docs/how-to/sign-in-with-a-provider.md",
    "docs/how-to/sign-up-and-recovery.md",
    "docs/how-to/size.md",
)
#: Blocks that can be run.
CODE = {"sh", "bash", "python", "js"}

ALL = [block for page in PAGES for block in blocks(page)]
#: The tutorial needs a browser: tests/browser/test_tutorial.py.
RUN = sorted(
    {block.page for block in ALL if block.mark and block.mark.verb != "skip"} - {"docs/tutorial/protect-a-page.md"}
)


def _parse_js(code: str) -> None:
    command = [node_binary(), "--input-type=module", "--check"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def _parse_sh(code: str) -> None:
    # <name> stands for a word of the reader's own.
    code = re.sub(r"<([a-z]+)>", r"\1", code)
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


#: Language → what finds a mistake in its form.
PARSERS: dict[str, Callable[[str], object]] = {
    "bash": _parse_sh,
    "js": _parse_js,
    "python": ast.parse,
    "sh": _parse_sh,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}


@pytest.mark.parametrize("language", sorted({block.language for block in ALL} & PARSERS.keys()))
def test_every_block_is_well_formed(language: str) -> None:
    found = [block for block in ALL if block.language == language]

    for block in found:
        try:
            PARSERS[language](block.code)
        except (AssertionError, SyntaxError, ValueError, yaml.YAMLError) as error:
            pytest.fail(f"{block}: {error}")
    assert found


@pytest.mark.parametrize("page", COMPLETE)
def test_every_block_of_the_page_is_run_or_says_why_not(page: str) -> None:
    found = [block for block in ALL if block.page == page and block.language in CODE]

    assert [str(block) for block in found if block.mark is None] == []
    assert [str(block) for block in found if block.mark and block.mark.verb == "skip" and not block.mark.reason] == []
    assert found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A running ``velro-auth dev``: its port and its data directory."""
    port = free_port()
    with temporary_folder() as folder:
        command = ["-m", "velro_auth", "dev", "--port", str(port), "--data-dir", str(folder / "data")]
        # The blocks log in more often than one person does.
        log = tmp_path_factory.mktemp("dev") / "dev.log"
        with program(command, log, AUTH_THROTTLE_SCALE="1000", PATH=_path()) as running:
            running.wait_for("Stop with Ctrl-C.")
            yield port, folder / "data"
            running.stop(signal.SIGINT)


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("page", RUN)
def test_the_page_does_what_it_says(page: str, project: tuple[int, Path], tmp_path: Path) -> None:
    port, data = project
    variables = json.loads(
        subprocess.check_output(
            [sys.executable, "-m", "velro_auth", "dev", "env", "--data-dir", str(data), "--json"],
            cwd=ROOT,
            env=clean_environment(),
        )
    )
    environment = clean_environment(PATH=_path(), AUTH_URL=variables["AUTH_URL"], PYTHONDONTWRITEBYTECODE="1")
    replaced = {
        r"(localhost|127\.0\.0\.1):8000\b": rf"\g<1>:{port}",
        r"https://auth\.example\.com": f"http://localhost:{port}",
    }
    with contextlib.ExitStack() as running:
        runner = Runner(tmp_path, environment, running, replaced)
        for block in (block for block in ALL if block.page == page):
            runner.run(block)


def test_a_block_that_says_something_else_fails(tmp_path: Path) -> None:
    """The test above would notice."""
    block = Block("page.md", 1, "sh", "echo something\n", parsed('run says="another thing"'))

    with contextlib.ExitStack() as running, pytest.raises(AssertionError, match="another thing"):
        Runner(tmp_path, clean_environment(), running, {}).run(block)


def test_a_block_that_fails_fails(tmp_path: Path) -> None:
    block = Block("page.md", 1, "sh", "false | true\n", parsed("run"))

    with contextlib.ExitStack() as running, pytest.raises(AssertionError, match=r"page\.md:1"):
        Runner(tmp_path, clean_environment(), running, {}).run(block)
