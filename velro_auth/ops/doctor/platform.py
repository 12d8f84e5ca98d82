"""Checks of what is around the process: proxies, Railway, the disk."""

from __future__ import annotations

import ipaddress
import math
import os
from pathlib import Path
from typing import Final

from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.web.client_address import FORWARDED_FOR

#: Where Railway's edge connects from (RFC 6598).
RAILWAY_EDGE: Final[ipaddress.IPv4Network] = ipaddress.IPv4Network("100.64.0.0/10")

#: gunicorn's graceful timeout is 25 s (gunicorn.conf.py).
DRAINING_S: Final = 30.0
OVERLAP_S: Final = 20.0

_LEAST_FREE_BYTES: Final = 100 * 1024**2
_FEW_FREE_BYTES: Final = 1024**3


def _trusted(case: DiagnosticContext) -> Finding:
    networks = case.settings.trusted_proxies
    if anybody := [network for network in networks if network.prefixlen == 0]:
        return Finding("fail", f"{anybody[0]} is trusted, so every caller may claim any address")
    is_covered = any(
        isinstance(network, ipaddress.IPv4Network) and RAILWAY_EDGE.subnet_of(network) for network in networks
    )
    if case.settings.environment and not is_covered:
        return Finding("fail", f"TRUSTED_PROXIES leaves out {RAILWAY_EDGE}, where Railway's edge connects from")
    return Finding("pass", f"{len(networks)} networks are trusted")


def _header(case: DiagnosticContext) -> Finding:
    settings = case.settings
    header, hops = settings.auth_client_ip_header, settings.auth_trusted_hops
    is_list = header.lower() == FORWARDED_FOR.lower()
    if settings.environment and is_list and hops == 1:
        return Finding("fail", f"{header} is read, whose last entry is Railway's own address")
    if hops > 1 and not is_list:
        return Finding("warn", f"AUTH_TRUSTED_HOPS is {hops}, and {header} has one entry")
    return Finding("pass", f"{header}, entry {hops} from the right" if is_list else header)


def _draining(case: DiagnosticContext) -> Finding:
    seconds = _seconds(case, case.settings.draining)
    return Finding("pass" if seconds >= DRAINING_S else "fail", f"{_said(case.settings.draining)}; 30 s are needed")


def _overlap(case: DiagnosticContext) -> Finding:
    seconds = _seconds(case, case.settings.overlap)
    return Finding("pass" if seconds >= OVERLAP_S else "warn", f"{_said(case.settings.overlap)}; 20 s are good")


def _seconds(case: DiagnosticContext, text: str) -> float:
    if not case.settings.environment:
        raise NotApplicable("this is no Railway environment: run it there, as in 'railway ssh'")
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _said(text: str) -> str:
    return f"set to {text!r}" if text else "not set, which means 0 s"


def _disk(case: DiagnosticContext) -> Finding:
    audit_file = case.settings.audit_file
    if audit_file in {"", "-"}:
        raise NotApplicable("nothing is written to disk: logs go to stdout, and AUDIT_FILE names no file")
    folder = Path(audit_file).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("fail", f"{folder} is no folder that can be written to")
    free, total = case.disk_free(folder)
    said = f"{free / 1024**2:,.0f} of {total / 1024**2:,.0f} MiB are free for {folder}"
    if free < _LEAST_FREE_BYTES:
        return Finding("fail", said)
    return Finding("warn" if free < _FEW_FREE_BYTES else "pass", said)


CHECKS: Final = (
    Check(
        name="proxy.trusted",
        what="The caller's address is believed from the platform's edge, and not from everybody.",
        why="Limits count by address: with none believed all callers are one, with all believed a guesser is many.",
        mend="Unset TRUSTED_PROXIES (loopback, private ranges and 100.64.0.0/10), or list your own proxies and"
        " 100.64.0.0/10.",
        look=_trusted,
    ),
    Check(
        name="proxy.header",
        what="The caller's address is read from a header that the proxy in front writes.",
        why="From one that it does not send all callers are one; from one that it passes on they are who they like.",
        mend="On Railway unset AUTH_CLIENT_IP_HEADER and AUTH_TRUSTED_HOPS; elsewhere name the header that your proxy"
        " overwrites, or X-Forwarded-For and the number of proxies that add to it.",
        look=_header,
    ),
    Check(
        name="railway.drain",
        what="Railway waits longer than gunicorn before it kills an old deployment.",
        why="Its default is 0 s: every deploy cuts off the logins in flight. gunicorn needs up to 25 s.",
        mend="Set the service variable RAILWAY_DEPLOYMENT_DRAINING_SECONDS=30.",
        look=_draining,
    ),
    Check(
        name="railway.overlap",
        what="The old deployment serves on until the new one is warm.",
        why="Its default is 0 s: for a moment of every deploy nobody answers.",
        mend="Set the service variable RAILWAY_DEPLOYMENT_OVERLAP_SECONDS=20.",
        look=_overlap,
    ),
    Check(
        name="disk.free",
        what="The folder of AUDIT_FILE can be written to and has room.",
        why="A full disk loses security events.",
        mend="Free some space, or name another AUDIT_FILE; '-' sends the trail to stdout.",
        look=_disk,
    ),
)
