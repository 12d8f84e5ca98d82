"""Runs the stand-in as a process of its own: ``python -m supabase_standin --data-dir DIR --port N``.

One JSON line on stdout says that it is ready and where it is; what takes a moment is said on stderr in plain
lines. It ends on SIGTERM and SIGINT, and with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from supabase_standin import RateLimit, Standin, StandinConfig, StandinError
from supabase_standin.stopping import awaiting_stop

PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; return 2 with one sentence on stderr when it cannot start."""
    config = _config(_parser().parse_args(arguments))
    with awaiting_stop() as wait_for_stop:
        if not _end_with_parent():
            return 0
        try:
            with Standin(config, progress=_say) as standin:
                _announce(standin)
                wait_for_stop()
        except StandinError as error:
            _say(str(error))
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m supabase_standin", description="A local Supabase.")
    parser.add_argument("--data-dir", type=Path, required=True, help="where database and keys are kept")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--bcrypt-cost", type=int, default=10, help="of new passwords, 4 to 31")
    parser.add_argument("--jwt-lifetime-s", type=int, default=3600, help="of access tokens")
    parser.add_argument("--rate-limit", action="store_true", help="limit /token as the platform does")
    parser.add_argument("--no-autoconfirm", action="store_true", help="new accounts wait for a mail")
    parser.add_argument("--not-durable", action="store_true", help="trade crash safety for speed")
    return parser


def _config(given: argparse.Namespace) -> StandinConfig:
    options: dict[str, Any] = {
        "data_dir": given.data_dir,
        "host": given.host,
        "port": given.port,
        "bcrypt_cost": given.bcrypt_cost,
        "jwt_lifetime_s": given.jwt_lifetime_s,
        "rate_limit": RateLimit() if given.rate_limit else None,
        "autoconfirm": not given.no_autoconfirm,
        "durable": not given.not_durable,
        "database_dsn": os.environ.get("VELRO_STANDIN_DATABASE") or None,
    }
    return StandinConfig(**options)


def _end_with_parent() -> bool:
    """Ask Linux for SIGTERM when the parent dies; False when it is dead already."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent


def _announce(standin: Standin) -> None:
    line = {
        "url": standin.url,
        "publishable_key": standin.publishable_key,
        "secret_key": standin.secret_key,
        "database_dsn": standin.database_dsn,
        "pid": os.getpid(),
        "control_token": standin.control_token,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
