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
from supabase_standin.provider import KINDS
from supabase_standin.stopping import awaiting_stop

PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; return 2 with one sentence on stderr when it cannot start."""
    config = config_of(parser().parse_args(arguments))
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


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m supabase_standin", description="A local Supabase.")
    parser.add_argument("--data-dir", type=Path, required=True, help="where database and keys are kept")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--bcrypt-cost", type=int, default=10, help="of new passwords, 4 to 31")
    parser.add_argument("--jwt-lifetime-s", type=int, default=3600, help="of access tokens")
    parser.add_argument("--rate-limit", action="store_true", help="limit /token as the platform does")
    parser.add_argument("--not-durable", action="store_true", help="trade crash safety for speed")
    _add_login_options(parser.add_argument_group("login"))
    _add_mail_options(parser.add_argument_group("mail", "SMTP_URL names a mail server that gets a copy of each mail."))
    return parser


def _add_login_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--provider", action="append", default=[], choices=sorted(KINDS), help="an OAuth provider")
    group.add_argument("--anonymous-users", action="store_true", help="let in whoever gives no address")
    group.add_argument("--manual-linking", action="store_true", help="users add and remove identities")
    group.add_argument("--phone-logins", action="store_true", help="phone number and password log in")
    group.add_argument("--refresh-tokens-v2", action="store_true", help="refresh tokens are counted, without rows")
    group.add_argument("--signing", choices=("ES256", "HS256"), default="ES256", help="how tokens are signed")
    group.add_argument("--no-edge", action="store_true", help="the bare Auth service: no API keys")


def _add_mail_options(group: argparse._ArgumentGroup) -> None:
    defaults = StandinConfig(data_dir=Path())
    group.add_argument("--no-autoconfirm", action="store_true", help="new accounts wait for a mail")
    group.add_argument("--site-url", default=defaults.site_url, help="where links lead by default")
    group.add_argument("--redirect-url", action="append", default=[], help="where else they may lead; a glob")
    group.add_argument("--mail-link", choices=("verify", "redirect"), default=defaults.mail_link, help="form of links")
    group.add_argument("--mail-interval-s", type=float, default=defaults.mail_interval_s, help="per user and kind")
    group.add_argument("--mails-per-hour", type=int, help="of the whole service; default: any number")
    group.add_argument("--mail-delay-ms", type=float, default=defaults.mail_delay_ms, help="what sending takes")
    group.add_argument("--smtp-down", action="store_true", help="let every mail fail")
    group.add_argument("--otp-length", type=int, default=defaults.otp_length, help="digits of a code, 6 to 10")
    group.add_argument("--otp-exp-s", type=float, default=defaults.otp_exp_s, help="how long mails are good")
    group.add_argument("--single-email-change", action="store_true", help="only the new address confirms a change")
    group.add_argument("--no-magic-links", action="store_true", help="no login by mail")
    group.add_argument("--password-reauthentication", action="store_true", help="new passwords need a nonce")
    group.add_argument("--password-needs-current", action="store_true", help="new passwords need the present one")


def config_of(given: argparse.Namespace) -> StandinConfig:
    """Return what a command line asks for."""
    same = (
        "data_dir host port bcrypt_cost jwt_lifetime_s site_url mail_link mail_interval_s mails_per_hour mail_delay_ms"
        " anonymous_users manual_linking phone_logins refresh_tokens_v2 signing"
        " smtp_down otp_length otp_exp_s password_reauthentication password_needs_current"
    )
    options: dict[str, Any] = {name: getattr(given, name) for name in same.split()}
    options |= {
        "rate_limit": RateLimit() if given.rate_limit else None,
        "autoconfirm": not given.no_autoconfirm,
        "edge": not given.no_edge,
        "durable": not given.not_durable,
        "redirect_urls": tuple(given.redirect_url),
        "providers": tuple(given.provider),
        "secure_email_change": not given.single_email_change,
        "magic_links": not given.no_magic_links,
        "smtp_url": os.environ.get("SMTP_URL") or None,
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
