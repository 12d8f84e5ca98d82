"""Checks of the settings, the proxies, Railway and the disk; they need no connection."""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from velro_auth.config.validation import LEGACY
from velro_auth.health_checks import Finding, Grade
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import DiagnosticContext, NotApplicable
from velro_auth.web.client_address import FORWARDED_FOR


def _settings_check(name: str, good: Callable[[DiagnosticContext], str]) -> Callable[[DiagnosticContext], Finding]:
    """Return a check that reports the settings errors that belong to it."""

    def run(context: DiagnosticContext) -> Finding:
        found = [str(error) for error in context.settings.errors if error.check == name]
        return Finding("fail", "; ".join(found)) if found else Finding("pass", good(context))

    return run


def _keys(context: DiagnosticContext) -> str:
    settings = context.settings
    slots = {"secret": settings.supabase_secret_key, "publishable": settings.supabase_publishable_key}
    return f"set: {', '.join(slot for slot, key in slots.items() if key)}"


def _legacy(context: DiagnosticContext) -> Finding:
    settings = context.settings
    slots = {
        "SUPABASE_PUBLISHABLE_KEY": settings.supabase_publishable_key,
        "SUPABASE_SECRET_KEY": settings.supabase_secret_key,
    }
    found = [variable for variable, key in slots.items() if key.startswith(LEGACY)]
    return Finding("warn", f"a legacy key is in {', '.join(found)}") if found else Finding("pass", "none")


def _threads(context: DiagnosticContext) -> Finding:
    settings = context.settings
    found = next((error for error in settings.errors if error.check == "gunicorn.threads"), None)
    if found:
        return Finding("fail", str(found))
    numbers = f"{settings.login_permits} logins at once, {settings.gunicorn_threads} threads"
    if settings.login_permits >= settings.gunicorn_threads:
        return Finding("fail", numbers)
    if settings.gunicorn_threads < _THREADS:
        return Finding("warn", numbers, f"Set GUNICORN_THREADS to {_THREADS} or more.")
    return Finding("pass", numbers)


#: 100 logins a second of 100 ms collapse with 8 threads and not with 16 (measured).
_THREADS: Final = 16


def _workers(context: DiagnosticContext) -> Finding:
    workers = context.settings.web_concurrency
    return Finding("pass" if workers <= context.cores else "warn", f"{workers} workers, {context.cores} cores")


#: The addresses of Railway's edge (RFC 6598).
RAILWAY_EDGE: Final[ipaddress.IPv4Network] = ipaddress.IPv4Network("100.64.0.0/10")

#: gunicorn's graceful timeout is 25 s (server/gunicorn_conf.py).
DRAINING_S: Final = 30.0
OVERLAP_S: Final = 20.0

_LEAST_FREE_BYTES: Final = 100 * 1024**2
_FEW_FREE_BYTES: Final = 1024**3


def _trusted(context: DiagnosticContext) -> Finding:
    networks = context.settings.trusted_proxies
    if everyone := [network for network in networks if network.prefixlen == 0]:
        return Finding("fail", f"{everyone[0]} is trusted, so every caller may claim any address")
    is_covered = any(
        isinstance(network, ipaddress.IPv4Network) and RAILWAY_EDGE.subnet_of(network) for network in networks
    )
    if context.settings.environment and not is_covered:
        return Finding("fail", f"TRUSTED_PROXIES leaves out {RAILWAY_EDGE}, where Railway's edge connects from")
    return Finding("pass", f"{len(networks)} networks are trusted")


def _header(context: DiagnosticContext) -> Finding:
    settings = context.settings
    header, hops = settings.auth_client_ip_header, settings.auth_trusted_hops
    is_list = header.lower() == FORWARDED_FOR.lower()
    if settings.environment and is_list and hops == 1:
        return Finding("fail", f"{header} is read, whose last entry is Railway's own address")
    if hops > 1 and not is_list:
        return Finding("warn", f"AUTH_TRUSTED_HOPS is {hops}, and {header} has one entry")
    return Finding("pass", f"{header}, entry {hops} from the right" if is_list else header)


def _railway_check(name: str, least_s: float, grade: Grade, wanted: str) -> Callable[[DiagnosticContext], Finding]:
    """Return a check of a setting of Railway in seconds, with the grade of less than *least_s*."""

    def run(context: DiagnosticContext) -> Finding:
        if not context.settings.environment:
            raise NotApplicable("this is no Railway environment: run it there, as in 'railway ssh'")
        text: str = getattr(context.settings, name)
        try:
            seconds = float(text or 0)
        except ValueError:
            seconds = 0.0
        said = f"set to {text!r}" if text else "not set, which means 0 s"
        return Finding("pass" if math.isfinite(seconds) and seconds >= least_s else grade, f"{said}; {wanted}")

    return run


def _disk(context: DiagnosticContext) -> Finding:
    audit_file = context.settings.audit_file
    if audit_file in {"", "-"}:
        raise NotApplicable("nothing is written to disk: logs go to stdout, and AUDIT_FILE names no file")
    folder = Path(audit_file).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("fail", f"{folder} is no folder that can be written to")
    free, total = context.disk_free(folder)
    said = f"{free / 1024**2:,.0f} of {total / 1024**2:,.0f} MiB are free for {folder}"
    if free < _LEAST_FREE_BYTES:
        return Finding("fail", said)
    return Finding("warn" if free < _FEW_FREE_BYTES else "pass", said)


CHECKS: Final[Mapping[str, Run]] = {
    "settings.values": _settings_check("settings.values", lambda _: "all are fit to serve"),
    "settings.url": _settings_check("settings.url", lambda context: context.settings.supabase_url),
    "settings.keys": _settings_check("settings.keys", _keys),
    "settings.project": _settings_check("settings.project", lambda _: "no key names another project"),
    "settings.legacy": _legacy,
    "gunicorn.threads": _threads,
    "gunicorn.workers": _workers,
    "proxy.trusted": _trusted,
    "proxy.header": _header,
    "railway.drain": _railway_check("draining", DRAINING_S, "fail", "30 s are needed"),
    "railway.overlap": _railway_check("overlap", OVERLAP_S, "warn", "20 s are good"),
    "disk.free": _disk,
}
