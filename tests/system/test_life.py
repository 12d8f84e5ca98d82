"""The life of a user, by curl: the script that the documentation shows, against ``velro-auth dev``."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.programs import ROOT, clean_environment, free_port, program
from tests.fixtures.standin import fast_place, temporary_folder
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")

STEPS = [
    "1. Sign up",
    "email_not_confirmed",
    "2. Read the mail, confirm",
    "3. Log in",
    "Ada",
    "invalid_credentials",
    "4. Forget the password, set another one",
    "invalid_credentials",
    "token_invalid",
    "5. A second factor",
    "6. Log in with it",
    "True",
    "insufficient_aal",
    "code_invalid",
    "7. Another address",
    "8. List the sessions, end one",
    "token_invalid",
    "9. The administrator deletes the user",
    "invalid_credentials",
    "Done.",
]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A place that the account PostgreSQL runs as can reach."""
    with temporary_folder(fast_place()) as folder:
        yield folder / "data"


@pytest.mark.parametrize("fast_login", ["on", "off"])
def test_a_user_lives_through_the_gateway_alone(data_dir: Path, tmp_path: Path, fast_login: str) -> None:
    port = free_port()
    command = ["-m", "velro_auth", "dev", "--port", str(port), "--data-dir", str(data_dir)]
    settings = {"AUTH_DEV_CONFIRM": "mail", "AUTH_FAST_LOGIN": fast_login, "AUTH_MAIL_DELAY_MS": "700"}
    with program(command, tmp_path / "dev.log", **settings) as running:
        running.wait_for("Stop with Ctrl-C.")
        script = subprocess.run(
            ["bash", str(ROOT / "examples" / "life-of-a-user.sh")],
            env=clean_environment(
                VELRO_AUTH=str(Path(sys.executable).parent / "velro-auth"), DATA_DIR=str(data_dir), NO_PROXY="*"
            ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_S,
            check=False,
        )
        assert script.returncode == 0, f"{script.stdout}\n{script.stderr}\n{running.output}"
        running.stop(signal.SIGINT)

    said = [line for line in script.stdout.splitlines() if not line.startswith("   ")]
    assert said == STEPS
    assert script.stdout.count("this one") == 1
