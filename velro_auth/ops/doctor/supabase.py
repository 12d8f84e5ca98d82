"""Checks of the way to Supabase: name, certificate, time, key, login path."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import ssl
import statistics
import time
from typing import Final
from urllib.parse import urlsplit

import certifi

from velro_auth.auth.keys import UnusableKeySet, read_key_set
from velro_auth.errors import UpstreamError
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Check
from velro_auth.ops.doctor.context import JWKS, DiagnosticContext, NotApplicable
from velro_auth.upstream import translate
from velro_auth.upstream.probe import LoginPathCheck

HEALTH: Final = "/auth/v1/health"

_DAY_S: Final = 86_400
#: Certificates of 90 days are renewed 30 days before their end: two weeks before it something is stuck.
_EXPIRES_SOON_DAYS: Final = 14
_EXPIRES_NOW_DAYS: Final = 3

_SAMPLES: Final = 5
_SAMPLING_S: Final = 6.0
#: The round trip is part of each login, twice of the first one on a new connection.
_FAR_MS: Final = 150.0

#: The leeway of our token checks; beyond it good tokens are refused.
_LEEWAY_S: Final = 30.0
_SKEW_S: Final = 5.0

_OK: Final = 200
_SERVER_CLASS: Final = 500


def _place(case: DiagnosticContext) -> tuple[str, int, bool]:
    parts = urlsplit(case.settings.supabase_url)
    is_https = parts.scheme == "https"
    return parts.hostname or "", parts.port or (443 if is_https else 80), is_https


def _dns(case: DiagnosticContext) -> Finding:
    host, port, _ = _place(case)
    try:
        found = case.resolve(host, port, case.settings.upstream_deadline_s)
    except TimeoutError:
        return Finding("fail", f"the name servers do not answer for {host}")
    except OSError:
        return Finding("fail", f"there is no host {host}: the project may be paused, or the name mistyped")
    return Finding("pass", f"{host} has {len({info[4][0] for info in found})} addresses")


def _tls(case: DiagnosticContext) -> Finding:
    host, port, is_https = _place(case)
    if not is_https:
        raise NotApplicable("SUPABASE_URL is plain http, to a private address")
    context = case.tls or ssl.create_default_context(cafile=certifi.where())
    limit_s = case.settings.upstream_deadline_s
    try:
        with (
            socket.create_connection((host, port), timeout=limit_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Finding("fail", f"the certificate is not accepted: {error.verify_message}")
    except OSError as error:
        return Finding("fail", f"no TLS with {host}:{port} ({type(error).__name__})")
    days = int((ssl.cert_time_to_seconds(str(certificate["notAfter"])) - case.now()) / _DAY_S)
    said = f"valid for {days} more days"
    if days < _EXPIRES_NOW_DAYS:
        return Finding("fail", said)
    return Finding("warn" if days < _EXPIRES_SOON_DAYS else "pass", said)


def _reachable(case: DiagnosticContext) -> Finding:
    try:
        status = case.get(HEALTH).status
    except UpstreamError as error:
        return Finding("fail", f"Supabase does not answer ({error.reason})")
    return Finding("pass" if status < _SERVER_CLASS else "fail", f"{HEALTH} answers {status}")


def _latency(case: DiagnosticContext) -> Finding:
    times_ms: list[float] = []
    ends_s = time.monotonic() + _SAMPLING_S
    with contextlib.closing(case.transport()) as transport:
        request = transport.prepare("GET", HEALTH)
        # The first opens the connection, which a warm gateway does not wait for.
        transport.send(request)
        while len(times_ms) < _SAMPLES and (not times_ms or time.monotonic() < ends_s):
            started_s = time.perf_counter()
            transport.send(request)
            times_ms.append((time.perf_counter() - started_s) * 1000)
    median_ms = statistics.median(times_ms)
    said = f"median {median_ms:.1f} ms of {len(times_ms)} requests on one connection"
    return Finding("warn" if median_ms > _FAR_MS else "pass", said)


def _key(case: DiagnosticContext) -> Finding:
    slots = {
        "SUPABASE_SECRET_KEY": case.settings.supabase_secret_key,
        "SUPABASE_PUBLISHABLE_KEY": case.settings.supabase_publishable_key,
    }
    answers = {slot: case.get("/auth/v1/settings", key=key).status for slot, key in slots.items() if key}
    refused = [f"{slot} ({status})" for slot, status in answers.items() if status != _OK]
    if refused:
        return Finding("fail", f"not accepted: {', '.join(refused)}")
    return Finding("pass", f"accepted: {', '.join(answers)}")


def _login(case: DiagnosticContext) -> Finding:
    with contextlib.closing(case.transport()) as transport:
        finding = LoginPathCheck(transport)()
    return finding if finding.output else Finding(finding.status, "a login by mail address and password is taken")


def _clock(case: DiagnosticContext) -> Finding:
    reply = case.get(HEALTH)
    ours_s = case.now()
    try:
        theirs_s = email.utils.parsedate_to_datetime(reply.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError):
        raise NotApplicable("the answer has no Date") from None
    skew_s = ours_s - theirs_s
    said = f"ours is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) > _LEEWAY_S:
        return Finding("fail", said)
    return Finding("warn" if abs(skew_s) > _SKEW_S else "pass", said)


def _signing(case: DiagnosticContext) -> Finding:
    reply = case.get(JWKS)
    try:
        keys = read_key_set(reply.body if translate.is_json(reply) and reply.status == _OK else b"")
    except UnusableKeySet as error:
        return Finding("fail", f"{JWKS} answers {reply.status}: {error}", "Check SUPABASE_URL: it must lead to Auth.")
    if keys:
        return Finding("pass", f"{len(keys)} keys: {', '.join(sorted({key.algorithm for key in keys.values()}))}")
    if case.settings.supabase_jwt_secret:
        return Finding("pass", "HS256 only, and SUPABASE_JWT_SECRET is set")
    return Finding("warn", "HS256 only: Supabase is asked about each token, one round trip each")


CHECKS: Final = (
    Check(
        name="upstream.dns",
        what="The host of SUPABASE_URL has an address.",
        why="Without one no login leaves this machine.",
        mend="Compare SUPABASE_URL with the project (Project Settings, Data API); restore the project if it is paused.",
        look=_dns,
        needs=("settings.url",),
    ),
    Check(
        name="upstream.tls",
        what="The certificate is valid, and for how long.",
        why="Nobody sends a password over a connection that is not verified: all logins would fail.",
        mend="Own domain: renew its certificate (Project Settings, Custom Domains). Otherwise look for a proxy in"
        " between, and at this machine's clock.",
        look=_tls,
        needs=("upstream.dns",),
    ),
    Check(
        name="upstream.reachable",
        what="Supabase Auth answers at all.",
        why="Otherwise every login is 503.",
        mend="Look at https://status.supabase.com and at the project's own page; restore it if it is paused.",
        look=_reachable,
        needs=("upstream.dns", "settings.keys"),
    ),
    Check(
        name="upstream.latency",
        what="How long a request to Supabase takes there and back.",
        why="Every login pays it, whatever this service does.",
        mend="Run the service in the region nearest to the project (Railway: Settings, Regions).",
        look=_latency,
        needs=("upstream.reachable",),
    ),
    Check(
        name="upstream.clock",
        what="Our clock and Supabase's agree.",
        why="Tokens carry times: 30 s apart, good ones are refused as expired or not yet valid.",
        mend="Set this machine's clock (timedatectl set-ntp true).",
        look=_clock,
        needs=("upstream.reachable",),
    ),
    Check(
        name="upstream.key",
        what="Supabase accepts each key that is set.",
        why="With a revoked or mistyped one every login is 503 upstream_misconfigured.",
        mend="Copy the key again, or make a new one (Project Settings, API Keys).",
        look=_key,
        needs=("upstream.reachable",),
    ),
    Check(
        name="upstream.login",
        what="An empty login is refused as invalid, quickly, and e-mail logins are switched on in the project.",
        why="Supabase's health page stays green with a dead database, and with e-mail logins switched off.",
        mend="Look at the project's Auth logs, and at https://status.supabase.com.",
        look=_login,
        needs=("upstream.key",),
    ),
    Check(
        name="upstream.signing",
        what="Tokens are signed with keys that can be checked here.",
        why="A project that signs with HS256 only makes verify ask Supabase about each token.",
        mend="Move to an ES256 key (Project Settings, JWT Keys), or set SUPABASE_JWT_SECRET.",
        look=_signing,
        needs=("upstream.reachable",),
    ),
)
