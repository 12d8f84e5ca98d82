"""``tsc --strict`` over the code of the how-to page, the adapter, and answers of the gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest

from supabase_standin import Standin
from tests.contract.face_lab import ADAPTER, Face, blocks_of
from tests.contract.test_standin_client_calls import JS
from tests.fixtures.standin import PASSWORD, new_email

TIMEOUT_S = 120
TSC = JS / "node_modules" / "typescript" / "bin" / "tsc"
NEEDS_TYPESCRIPT = pytest.mark.skipif(
    (shutil.which("node") is None or not TSC.is_file()) and "CI" not in os.environ,
    reason="no node, or its packages are not installed: npm install in tests/js",
)
pytestmark = [pytest.mark.timeout(TIMEOUT_S + 30), NEEDS_TYPESCRIPT]

OPTIONS = {
    "strict": True,
    "noEmit": True,
    "module": "nodenext",
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
    "skipLibCheck": True,
}
GLOBALS = "declare const PROJECT: string, GATEWAY: string, KEY: string, EMAIL: string, PASSWORD: string\n"

#: What must not compile. If one of these lines does, tsc says that its comment has nothing to expect.
WRONG = """
import { createClient } from "@supabase/supabase-js"
import type { Session, User } from "@supabase/auth-js"
import { authByGateway } from "./auth-by-gateway.mjs"
// @ts-expect-error - an address is missing
authByGateway(PROJECT)
// @ts-expect-error - no address
authByGateway(PROJECT, 8000)
// @ts-expect-error - not a fetch
createClient(PROJECT, KEY, { global: { fetch: authByGateway } })
// @ts-expect-error - a lifetime is a number
const session: Pick<Session, "expires_in"> = { expires_in: "3600" }
// @ts-expect-error - only bearer tokens
const token: Pick<Session, "token_type"> = { token_type: "Bearer" }
// @ts-expect-error - a user has an id
const user: Pick<User, "id"> = {}
"""


def checked(folder: Path, files: dict[str, str]) -> str:
    """Return what tsc says about *files*, beside the adapter; empty when it has nothing to say."""
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    shutil.copy(ADAPTER.with_suffix(".d.mts"), folder)
    (folder / "globals.d.ts").write_text(GLOBALS, "utf-8")
    (folder / "package.json").write_text('{"type": "module"}', "utf-8")
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS}), "utf-8")
    (folder / "node_modules").symlink_to(JS / "node_modules")
    done = subprocess.run(
        ["node", TSC, "--project", folder], check=False, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode in {0, 2}, done.stderr
    return done.stdout


def test_the_code_of_the_page_and_what_must_not_compile(tmp_path: Path) -> None:
    pages = {f"page{number}.ts": block for number, block in enumerate(blocks_of("ts"))}
    assert len(pages) == 3

    assert checked(tmp_path, {**pages, "wrong.ts": WRONG}) == ""


def test_the_types_of_the_adapter_are_those_of_its_code(tmp_path: Path) -> None:
    """``auth-by-gateway.d.mts`` is what tsc makes of ``auth-by-gateway.mjs``."""
    options = ("--allowJs", "--checkJs", "--strict", "--declaration", "--emitDeclarationOnly")
    where = ("--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom", "--outDir", tmp_path)
    done = subprocess.run(
        ["node", TSC, *options, *where, ADAPTER], check=False, capture_output=True, text=True, timeout=TIMEOUT_S
    )

    assert (done.returncode, done.stdout) == (0, "")
    made = (tmp_path / "auth-by-gateway.d.mts").read_text("utf-8")
    assert ADAPTER.with_suffix(".d.mts").read_text("utf-8") == made


@pytest.fixture
def answers(standin_with: Callable[..., Standin]) -> dict[str, tuple[str, Any]]:
    """Name → the type of ``@supabase/auth-js``, and what the gateway answers."""
    face = Face(standin_with(mail_interval_s=0.0))
    by_mail = Face(standin_with(autoconfirm=False))
    email, login = face.user()
    token = login["access_token"]
    refreshed = face.call("POST", "/token?grant_type=refresh_token", {"refresh_token": login["refresh_token"]})
    factor = face.call("POST", "/factors", {"factor_type": "totp", "friendly_name": "phone"}, token=token).get_json()
    challenge = face.call("POST", f"/factors/{factor['id']}/challenge", token=token).get_json()
    proof = {"challenge_id": challenge["id"], "code": pyotp.TOTP(factor["totp"]["secret"]).now()}
    new = {"email": new_email(), "password": PASSWORD, "data": {"a": 1}}
    return {
        "login": ("Session", login),
        "refresh": ("Session", refreshed.get_json()),
        "sign_up": ("Session", face.call("POST", "/signup", new).get_json()),
        "sign_up_by_mail": ("User", by_mail.call("POST", "/signup", {**new, "email": new_email()}).get_json()),
        "user": ("User", face.call("GET", "/user", token=token).get_json()),
        "change": ("User", face.call("PUT", "/user", {"data": {"b": 2}}, token=token).get_json()),
        "new_address": (
            "User",
            by_mail.call("PUT", "/user", {"email": new_email()}, token=by_mail.user()[1]["access_token"]).get_json(),
        ),
        "factor": ('NonNullable<AuthMFAEnrollTOTPResponse["data"]>', factor),
        "challenge": ('NonNullable<AuthMFAChallengeTOTPResponse["data"]>', challenge),
        "step_up": (
            'NonNullable<AuthMFAVerifyResponse["data"]>',
            face.call("POST", f"/factors/{factor['id']}/verify", proof, token=token).get_json(),
        ),
        "refusal": (
            '{ code: NonNullable<AuthError["code"]>, message: string }',
            face.log_in(email, "wrong").get_json(),
        ),
    }


#: Takes a value of a type, and of more members than that has: Supabase's own answers have more.
TAKES = "const takes = <T>() => <Value extends T>(value: Value) => value"
TYPES = (
    "Session",
    "User",
    "AuthError",
    "AuthMFAEnrollTOTPResponse",
    "AuthMFAChallengeTOTPResponse",
    "AuthMFAVerifyResponse",
)


def test_the_answers_have_the_official_types(answers: dict[str, tuple[str, Any]], tmp_path: Path) -> None:
    lines = [f'import type {{ {", ".join(TYPES)} }} from "@supabase/auth-js"', TAKES]
    lines += [f"takes<{kind}>()({json.dumps(value)})" for kind, value in answers.values()]
    # If this line compiled, tsc would say that its comment has nothing to expect.
    without = {name: value for name, value in answers["login"][1].items() if name != "refresh_token"}
    lines += ["// @ts-expect-error - no refresh token", f"takes<Session>()({json.dumps(without)})"]

    assert checked(tmp_path, {"answers.ts": "\n".join(lines)}) == ""
