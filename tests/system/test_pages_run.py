"""The commands and programs that the documentation shows are run as they stand there, against a local project."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.fixtures.page_blocks import ROOT, Block, blocks, parsed
from tests.fixtures.programs import Program, clean_environment, free_port, program
from tests.fixtures.standin import temporary_folder
from tests.waiting import PATIENCE_S, eventually

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
RUN = sorted({block.page for block in ALL if block.mark and block.mark.verb != "skip"})


def _parse_js(code: str) -> None:
    node = shutil.which("node")
    if node is None:
        assert "CI" not in os.environ, "node is missing: make system-packages"
        pytest.skip("node is not installed: make system-packages")
    command = [node, "--input-type=module", "--check"]
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
    with contextlib.ExitStack() as running:
        for block in (block for block in ALL if block.page == page and block.mark):
            run(block, port=port, folder=tmp_path, environment=environment, running=running)


def run(block: Block, *, port: int, folder: Path, environment: dict[str, str], running: contextlib.ExitStack) -> None:
    """Run one block as its mark says."""
    mark = block.mark
    assert mark is not None
    # The pages name the usual port, or an address of their own; the project of this test has another one.
    code = re.sub(r"(localhost|127\.0\.0\.1):8000\b", rf"\1:{port}", block.code)
    code = code.replace("https://auth.example.com", f"http://localhost:{port}")
    if mark.verb == "file":
        (folder / mark.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / mark.file).write_text(code, "utf-8")
        code = mark.then
        if not code:
            return
    elif mark.verb == "start":
        running.enter_context(started(code, mark.until, folder=folder, environment=environment, name=str(block.line)))
        return
    elif mark.verb != "run":
        return
    language = "sh" if mark.verb == "file" else block.language
    whole = "\n".join([mark.first, code, mark.then if mark.verb == "run" else ""])
    done = subprocess.run(
        command_for(language, whole, folder),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{block}\n{output}"
    for text in mark.says:
        assert text in output, f"{block}: {text!r} is not in\n{output}"


def command_for(language: str, code: str, folder: Path) -> list[str]:
    """Return what runs *code* in *folder*; variables of sh live on in the next block."""
    if language == "python":
        return [sys.executable, "-W", "error::SyntaxWarning", "-c", code]
    if language == "js":
        (folder / "block.mjs").write_text(code, "utf-8")
        return ["node", "block.mjs"]
    kept = shlex.quote(str(folder / ".variables"))
    script = f"[ -f {kept} ] && . {kept}\nset -euo pipefail\n{code}\nexport -p > {kept}\n"
    return ["bash", "-c", script]


@contextlib.contextmanager
def started(code: str, until: str, *, folder: Path, environment: dict[str, str], name: str) -> Iterator[Program]:
    """Run a program beside the page until it is done."""
    log = folder / f"started-{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {code.strip()}" if "\n" not in code.strip() else code],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Program(process, log)
    try:
        running.wait_for(until)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        eventually(lambda: process.poll() is not None)


def test_a_block_that_says_something_else_fails(tmp_path: Path) -> None:
    """The test above would notice."""
    block = Block("page.md", 1, "sh", "echo something\n", parsed('run says="another thing"'))

    with contextlib.ExitStack() as running, pytest.raises(AssertionError, match="another thing"):
        run(block, port=1, folder=tmp_path, environment=clean_environment(), running=running)
