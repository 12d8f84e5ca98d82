"""Checks of Supabase: host name, certificate, latency, keys, login path, tokens, captcha."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import ssl
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import jwt

from velro_auth.auth.keys import UnusableKeySet, read_key_set
from velro_auth.config.validation import LEGACY
from velro_auth.errors import UpstreamError
from velro_auth.health_checks import Finding
from velro_auth.ops.doctor.checkup import Run
from velro_auth.ops.doctor.context import JWKS, DiagnosticContext, NotApplicable
from velro_auth.upstream.answers import content, is_json
from velro_auth.upstream.captcha import Answer, ask, question
from velro_auth.upstream.probe import LoginPathCheck

HEALTH: Final = "/auth/v1/health"

_DAY_S: Final = 86_400
#: Certificates of 90 days are renewed 30 days before they expire; two weeks before, the renewal has failed.
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


def _host_and_port(context: DiagnosticContext) -> tuple[str, int, bool]:
    parts = urlsplit(context.settings.supabase_url)
    is_https = parts.scheme == "https"
    return parts.hostname or "", parts.port or (443 if is_https else 80), is_https


def _dns(context: DiagnosticContext) -> Finding:
    host, port, _ = _host_and_port(context)
    try:
        found = context.resolve(host, port, context.settings.upstream_deadline_s)
    except TimeoutError:
        return Finding("fail", f"the name servers do not answer for {host}")
    except OSError:
        return Finding("fail", f"there is no host {host}: the project may be paused, or the name mistyped")
    return Finding("pass", f"{host} has {len({info[4][0] for info in found})} addresses")


def _tls(context: DiagnosticContext) -> Finding:
    host, port, is_https = _host_and_port(context)
    if not is_https:
        raise NotApplicable("SUPABASE_URL is plain http, to a private address")
    trust = context.tls or ssl.create_default_context(cafile=certifi.where())
    limit_s = context.settings.upstream_deadline_s
    try:
        with (
            socket.create_connection((host, port), timeout=limit_s) as plain,
            trust.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Finding("fail", f"the certificate is not accepted: {error.verify_message}")
    except OSError as error:
        return Finding("fail", f"no TLS with {host}:{port} ({type(error).__name__})")
    days = int((ssl.cert_time_to_seconds(str(certificate["notAfter"])) - context.now()) / _DAY_S)
    said = f"valid for {days} more days"
    if days < _EXPIRES_NOW_DAYS:
        return Finding("fail", said)
    return Finding("warn" if days < _EXPIRES_SOON_DAYS else "pass", said)


def _reachable(context: DiagnosticContext) -> Finding:
    try:
        status = context.get(HEALTH).status
    except UpstreamError as error:
        return Finding("fail", f"Supabase does not answer ({error.reason})")
    return Finding("pass" if status < _SERVER_CLASS else "fail", f"{HEALTH} answers {status}")


def _latency(context: DiagnosticContext) -> Finding:
    times_ms: list[float] = []
    ends_s = time.monotonic() + _SAMPLING_S
    with contextlib.closing(context.transport()) as transport:
        request = transport.prepare("GET", HEALTH)
        # Opens the connection; not measured, since the gateway has one open.
        transport.send(request)
        while len(times_ms) < _SAMPLES and (not times_ms or time.monotonic() < ends_s):
            started_s = time.perf_counter()
            transport.send(request)
            times_ms.append((time.perf_counter() - started_s) * 1000)
    median_ms = statistics.median(times_ms)
    said = f"median {median_ms:.1f} ms of {len(times_ms)} requests on one connection"
    return Finding("warn" if median_ms > _FAR_MS else "pass", said)


def _key(context: DiagnosticContext) -> Finding:
    slots = {
        "SUPABASE_SECRET_KEY": context.settings.supabase_secret_key,
        "SUPABASE_PUBLISHABLE_KEY": context.settings.supabase_publishable_key,
    }
    answers = {slot: context.get("/auth/v1/settings", key=key).status for slot, key in slots.items() if key}
    refused = [f"{slot} ({status})" for slot, status in answers.items() if status != _OK]
    if refused:
        return Finding("fail", f"not accepted: {', '.join(refused)}")
    return Finding("pass", f"accepted: {', '.join(answers)}")


def _login(context: DiagnosticContext) -> Finding:
    with contextlib.closing(context.transport()) as transport:
        finding = LoginPathCheck(transport)()
    return finding if finding.output else Finding(finding.status, "a login by mail address and password is taken")


def _clock(context: DiagnosticContext) -> Finding:
    reply = context.get(HEALTH)
    return skew(date_s(reply.headers.get("Date", "")), context.now())


def date_s(header: str) -> float:
    """Return the time of a ``Date`` header, in seconds since the epoch.

    Raises:
        NotApplicable: It is missing or unreadable.
    """
    try:
        return email.utils.parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError):
        raise NotApplicable("the answer has no Date") from None


def skew(theirs_s: float, ours_s: float) -> Finding:
    """Return how far two clocks are apart, graded by what token checks tolerate."""
    skew_s = ours_s - theirs_s
    said = f"ours is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) > _LEEWAY_S:
        return Finding("fail", said)
    return Finding("warn" if abs(skew_s) > _SKEW_S else "pass", said)


def _signing(context: DiagnosticContext) -> Finding:
    reply = context.get(JWKS)
    try:
        keys = read_key_set(reply.body if is_json(reply) and reply.status == _OK else b"")
    except UnusableKeySet as error:
        return Finding("fail", f"{JWKS} answers {reply.status}: {error}", "Check SUPABASE_URL: it must lead to Auth.")
    if keys:
        return Finding("pass", f"{len(keys)} keys: {', '.join(sorted({key.algorithm for key in keys.values()}))}")
    if context.settings.supabase_jwt_secret:
        return Finding("pass", "HS256 only, and SUPABASE_JWT_SECRET is set")
    return Finding("warn", "HS256 only: Supabase is asked about each token, one round trip each")


#: OpenID Connect Discovery 1.0; it names the issuer of the tokens.
DISCOVERY: Final = "/auth/v1/.well-known/openid-configuration"

_SIGNATURE_ONLY: Final[Any] = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


def _issuer(context: DiagnosticContext) -> Finding:
    document = content(context.get(DISCOVERY))
    issuer = document.get("issuer") if isinstance(document, dict) else None
    if not isinstance(issuer, str) or not issuer:
        raise NotApplicable(f"{DISCOVERY} names no issuer; account.token looks at a real token")
    accepted = context.settings.issuers
    if issuer in accepted:
        return Finding("pass", f"tokens are issued by {issuer}")
    return Finding(
        "fail",
        f"tokens are issued by {issuer}; accepted: {', '.join(accepted)}",
        f"Set AUTH_ISSUERS={issuer}, or correct SUPABASE_URL.",
    )


def _secret(context: DiagnosticContext) -> Finding:
    settings = context.settings
    if not settings.supabase_jwt_secret:
        return Finding("pass", "not set: tokens that are signed with HS256 are left to Supabase")
    keys = [key for key in (settings.supabase_secret_key, settings.supabase_publishable_key) if key.startswith(LEGACY)]
    if not keys:
        raise NotApplicable("no legacy key is set that could show it; account.token looks at a real token")
    try:
        for key in keys:
            jwt.decode(key, settings.supabase_jwt_secret, algorithms=["HS256"], options=_SIGNATURE_ONLY)
    except jwt.PyJWTError:
        return Finding("fail", "the project's legacy key is not signed with it")
    return Finding("pass", "the project's legacy key is signed with it")


_CAPTCHA_FINDINGS: Final[Mapping[tuple[str, Answer], Finding]] = {
    ("auto", "demanded"): Finding("pass", "the project demands a captcha, and so does this service"),
    ("on", "demanded"): Finding("pass", "the project demands a captcha, and so does this service"),
    ("off", "demanded"): Finding(
        "fail", "the project demands a captcha, and AUTH_CAPTCHA=off skips it", "Set AUTH_CAPTCHA to 'auto'."
    ),
    ("auto", "not demanded"): Finding("pass", "the project demands no captcha"),
    ("off", "not demanded"): Finding("pass", "the project demands no captcha"),
    ("on", "not demanded"): Finding(
        "warn",
        "the project demands no captcha, and for AUTH_CAPTCHA=on no caller's address is passed on",
        "Set AUTH_CAPTCHA to 'auto', or switch the captcha on in the project.",
    ),
}


def _captcha(context: DiagnosticContext) -> Finding:
    settings = context.settings
    if not settings.supabase_secret_key:
        return Finding("pass", "logins go with the publishable key: Supabase demands what it has to")
    key = settings.supabase_publishable_key
    if not key:
        if settings.auth_captcha == "off":
            return Finding("pass", "AUTH_CAPTCHA=off: no captcha is demanded here")
        return Finding("warn", "cannot be learnt without SUPABASE_PUBLISHABLE_KEY; the secret key skips a captcha")
    with contextlib.closing(context.transport()) as transport:
        answer = ask(transport, question(transport, key))
    return _CAPTCHA_FINDINGS.get((settings.auth_captcha, answer), Finding("warn", f"cannot be learnt: {answer}"))


CHECKS: Final[Mapping[str, Run]] = {
    "upstream.dns": _dns,
    "upstream.tls": _tls,
    "upstream.reachable": _reachable,
    "upstream.latency": _latency,
    "upstream.clock": _clock,
    "upstream.key": _key,
    "upstream.login": _login,
    "upstream.signing": _signing,
    "upstream.issuer": _issuer,
    "upstream.secret": _secret,
    "captcha.demanded": _captcha,
}
