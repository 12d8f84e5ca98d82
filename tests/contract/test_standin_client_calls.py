"""Every call of the official clients meets at the stand-in what it met at a real Supabase Auth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.client_calls import PythonCalls

TESTS = Path(__file__).parent.parent
MET = json.loads((TESTS / "vectors" / "client-calls.json").read_text("utf-8"))
JS = TESTS / "js"
TIMEOUT_S = 60

#: Call → what it meets here on purpose, and why.
DIFFERENT = {
    # The hosted edge refuses browsers the secret key; the edge of the recording was another one.
    "browser UA with secret key": "401",
}
NEEDS_NODE = pytest.mark.skipif(
    (shutil.which("node") is None or not (JS / "node_modules").is_dir()) and "CI" not in os.environ,
    reason="no node, or its packages are not installed: npm install in tests/js",
)


@pytest.mark.timeout(TIMEOUT_S + 30)
@NEEDS_NODE
@pytest.mark.parametrize("mode", ["autoconfirm", "mail"])
def test_the_calls_of_supabase_js(mode: str, standin_with: Callable[..., Standin]) -> None:
    standin = standin_with(autoconfirm=mode == "autoconfirm", mail_interval_s=0.0)
    command = ["node", "calls.mjs", standin.url, standin.publishable_key, standin.secret_key]

    done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    wanted = {name: met[mode] for name, met in MET["supabase-js"].items()}
    assert json.loads(done.stdout) == wanted | DIFFERENT


def test_the_calls_of_supabase_py(standin_with: Callable[..., Standin]) -> None:
    standin = standin_with(mail_interval_s=0.0)

    assert PythonCalls(standin).all() == MET["supabase-py"]


def test_browsers_may_be_let_in_with_the_secret_key(standin_with: Callable[..., Standin]) -> None:
    standin = standin_with(secret_key_in_browsers=True)
    headers = {"apikey": standin.secret_key, "User-Agent": "Mozilla/5.0"}

    assert requests.get(f"{standin.url}/auth/v1/admin/users", headers=headers, timeout=10).status_code == 200
