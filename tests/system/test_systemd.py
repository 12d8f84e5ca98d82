"""The unit for systemd: what it starts, and how closed it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.programs import Program, clean_environment
from tests.waiting import PATIENCE_S, eventually
from velro_auth.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "velro-auth.service"

#: What `systemd-analyze security` may find open: network and sockets, the pinning to a core, the host's programs, and
#: what needs a list of addresses of the site.
OPEN = {
    "DeviceAllow",
    "IPAddressDeny",
    "PrivateMounts",
    "PrivateNetwork",
    "ProcSubset",
    "RestrictAddressFamilies_AF_INET_INET6",
    "RestrictAddressFamilies_AF_NETLINK",
    "RestrictAddressFamilies_AF_UNIX",
    "RootDirectoryOrRootImage",
    "SystemCallFilter_resources",
}


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in values("Environment") for pair in line.split())


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        reason = "no systemd-analyze: install the Debian package systemd"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    assert found
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_is_closed_to_all_that_the_service_does_not_need(analyze: str) -> None:
    done = run(analyze, "security", "--offline=true", "--json=short", "--no-pager", str(UNIT))
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze is older than 250 and looks at no files")
    found = json.loads(done.stdout)

    assert {one["json_field"] for one in found if not one["set"]} <= OPEN
    assert len(found) > 70


def test_systemd_understands_every_line(analyze: str, tmp_path: Path) -> None:
    script = tmp_path / "velro-auth"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/velro-auth/bin/velro-auth", str(script)))

    done = run(analyze, "verify", "--man=no", str(unit))

    assert (done.returncode, done.stderr) == (0, "")


def test_a_stop_takes_less_time_than_systemd_waits() -> None:
    (waits,) = values("TimeoutStopSec")
    conf = (ROOT / "velro_auth" / "server" / "gunicorn_conf.py").read_text("utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", conf, re.MULTILINE)

    assert int(waits) > int(graceful)
    assert values("KillMode") == ["mixed"]


def test_its_variables_are_settings() -> None:
    settings = Settings.from_environment({**environment(), "AUTH_ENV_FILE": ""})

    assert settings.auth_run_dir == "/run/velro-auth"
    assert settings.log_format == "json"
    assert environment()["AUTH_ENV_FILE"] == "/etc/velro-auth/velro-auth.env"


def test_it_tells_systemd_when_it_listens_and_ends_at_sigterm(tmp_path: Path) -> None:
    """``Type=notify``: the message has to come from the process that systemd started."""
    (command,) = values("ExecStart")
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    variables = {**environment(), "AUTH_ENV_FILE": "", "AUTH_RUN_DIR": str(run_dir)}
    output = tmp_path / "serve.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, output.open("wb") as file:
        notified.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(PATIENCE_S)
        process = subprocess.Popen(
            [sys.executable, "-m", "velro_auth", *command.split()[1:], "--bind", "127.0.0.1:0"],
            env=clean_environment(**variables, NOTIFY_SOCKET=str(tmp_path / "notify")),
            cwd=run_dir,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        running = Program(process, output)
        try:
            message, credentials, _, _ = notified.recvmsg(4096, socket.CMSG_SPACE(12))
            eventually(lambda: len(list(run_dir.iterdir())) == 2, or_say=lambda: running.output)
            status = running.stop(signal.SIGTERM)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE_S)

    assert message.startswith(b"READY=1\n")
    assert int.from_bytes(credentials[0][2][:4], sys.byteorder) == process.pid
    assert status == 0
    assert list(run_dir.iterdir()) == []
