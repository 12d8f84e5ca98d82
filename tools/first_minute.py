"""What a newcomer does in the first minute, with the time that it takes: install, start, log in.

In an empty folder outside of the checkout: a new virtual environment, the wheels of ``make dist`` by path, a local
project by ``velro-auth dev``, a login, then ``velro-auth serve`` against that project, and a login there.

    python -m tools.first_minute
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.fixtures.programs import free_ports
from tools.dist import build

#: The promise, on a machine that has fetched the packages before.
LIMIT_S: Final = 60.0

#: Given up after so long.
_PATIENCE_S: Final = 240.0
_EVERY_S: Final = 0.1

_DEMO: Final = {"email": "demo@example.com", "password": "correct-horse-battery-staple"}

#: Variables that would set up the service, or lead Python back to the checkout.
_OURS: Final = (
    "SUPABASE",
    "AUTH_",
    "RAILWAY",
    "UPSTREAM",
    "CORS",
    "LOG_",
    "PORT",
    "REDIS",
    "DATABASE",
    "PYTHON",
    "VIRTUAL_ENV",
)


class NotWorking(Exception):
    """A step failed; the text says which and what was printed."""


def first_minute(folder: Path, *, pip_options: Sequence[str] = ()) -> dict[str, float]:
    """Do every step in *folder*, and return step → seconds, the whole as ``in all``.

    Args:
        folder: An empty folder that other accounts may pass through.
        pip_options: For pip, besides the wheels.

    Raises:
        NotWorking: A step failed.
    """
    wheels = build(folder / "dist")
    times: dict[str, float] = {}
    began_s = time.monotonic()
    with _timed(times, "virtual environment"):
        venv.create(folder / "venv", with_pip=True)
    bin_folder = folder / "venv" / "bin"
    with _timed(times, "pip install"):
        command = [
            bin_folder / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *pip_options,
        ]
        by_name = {wheel.name.partition("-")[0]: wheel for wheel in wheels}
        _run([*command, f"{by_name['velro_auth']}[dev]", by_name["velro_auth_standin"]], folder)
    program, (port, serve_port) = str(bin_folder / "velro-auth"), free_ports(2)
    data = folder / "data"
    with contextlib.ExitStack() as running:
        with _timed(times, "velro-auth dev, until a login"):
            words = [program, "dev", "--port", str(port), "--data-dir", str(data)]
            running.enter_context(_started(words, folder / "empty", {}))
            _log_in(port)
        with _timed(times, "velro-auth serve, until a login"):
            variables = json.loads(_run([program, "dev", "--data-dir", str(data), "env", "--json"], folder))
            given = {
                name: variables[name] for name in ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY")
            }
            words = [program, "serve", "--bind", f"127.0.0.1:{serve_port}"]
            running.enter_context(_started(words, folder / "empty-too", given))
            _log_in(serve_port)
        times["in all"] = time.monotonic() - began_s
    return times


@contextlib.contextmanager
def _timed(times: dict[str, float], step: str) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    times[step] = time.monotonic() - began_s


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def _run(command: list[Any], folder: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=_environment(), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise NotWorking(f"{' '.join(map(str, command[-3:]))}: {done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def _started(command: list[str], folder: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Run a program in a new, empty folder until the block ends; check that it ends well and left nothing there."""
    folder.mkdir()
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**_environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    except NotWorking as error:
        raise NotWorking(f"{error}\n{log.read_text('utf-8', 'replace')}") from None
    finally:
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if status or list(folder.iterdir()):
        raise NotWorking(f"{command[1]} ended with {status}, and left {list(folder.iterdir())}\n{log.read_text()}")


def _log_in(port: int) -> None:
    """Log in as the demo user as soon as the service answers."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/auth/login",
        data=json.dumps(_DEMO).encode(),
        headers={"Content-Type": "application/json"},
    )
    ends_s, problem = time.monotonic() + _PATIENCE_S, ""
    while time.monotonic() < ends_s:
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - loopback
                if json.load(answer)["user"]["email"] == _DEMO["email"]:
                    return
        except (OSError, ValueError) as error:
            problem = str(error)
        time.sleep(_EVERY_S)
    raise NotWorking(f"No login on port {port}: {problem}")


def main() -> int:
    """Print the times; return 1 when a step failed or all took longer than promised."""
    argparse.ArgumentParser(description="Install the wheels, start, log in; and print the times.").parse_args()
    with tempfile.TemporaryDirectory(prefix="velro-first-", dir="/tmp") as folder:
        # The account that PostgreSQL runs as has to reach the data.
        Path(folder).chmod(0o711)
        try:
            times = first_minute(Path(folder))
        except NotWorking as error:
            print(error, file=sys.stderr)
            return 1
    for step, seconds in times.items():
        print(f"{seconds:6.1f} s  {step}")
    return 0 if times["in all"] <= LIMIT_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
