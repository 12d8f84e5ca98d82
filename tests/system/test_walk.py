"""How many modules of ours one login passes. Each one is a file that a reader has to open."""

from __future__ import annotations

import subprocess
import sys

from tests.fixtures.programs import ROOT, clean_environment, free_port

#: Lower this number when a change takes a module off the path; never raise it.
MAX_MODULES = 24


def test_a_login_passes_few_modules() -> None:
    command = [sys.executable, "-m", "benchmarks.layers", "--walk", "--first-port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    modules = done.stdout.decode().splitlines()
    assert {"app.py", "fastlane.py", "auth/login.py"} <= set(modules)
    assert len(modules) <= MAX_MODULES, "\n".join(modules)
