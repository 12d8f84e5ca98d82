"""Every call of the official clients meets through the gateway what it meets at Supabase itself, but for one table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from supabase_standin import Standin
from tests.contract.face_lab import face_of
from tests.contract.test_standin_client_calls import JS, MET, NEEDS_NODE, TIMEOUT_S
from tests.fixtures.client_calls import PythonCalls
from velro_auth.web.cors import EXPOSED_HEADERS

#: Call of supabase-js → what it meets at the gateway, and why that differs.
DIFFERENT = {
    # Nothing may tell who has an account.
    "signInWithOtp no create": "ok",
    # Administration is never passed on.
    "admin.listUsers with publishable key": "404 not_found",
    # A secret key is refused, from a browser or not.
    "browser UA with secret key": "404",
    # One CORS policy for every face: listed origins, and a fixed list of headers, which has all that clients send.
    "preflight /token": "ok acao=https://app.example.com false",
    "cors header on POST": f"400 acao=https://app.example.com aceh={', '.join(EXPOSED_HEADERS)}",
}


@pytest.mark.timeout(TIMEOUT_S + 30)
@NEEDS_NODE
@pytest.mark.parametrize("mode", ["autoconfirm", "mail"])
def test_the_calls_of_supabase_js(mode: str, standin_with: Callable[..., Standin]) -> None:
    standin = standin_with(autoconfirm=mode == "autoconfirm", mail_interval_s=0.0)
    with face_of(standin) as url:
        command = ["node", "calls.mjs", url, standin.publishable_key, standin.secret_key, standin.url]
        done = subprocess.run(command, cwd=JS, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)

    assert done.returncode == 0, done.stderr
    wanted = {name: met[mode] for name, met in MET["supabase-js"].items()}
    assert json.loads(done.stdout) == wanted | DIFFERENT


def test_the_calls_of_supabase_py(standin_with: Callable[..., Standin]) -> None:
    standin = standin_with(mail_interval_s=0.0)

    with face_of(standin) as url:
        assert PythonCalls(standin, url).all() == MET["supabase-py"]
