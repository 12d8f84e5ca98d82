"""Validates the address and the keys of the project.

Facts about keys: Supabase's documentation "API keys". A key in the wrong variable is refused, although some things
work with it: a publishable key in the secret variable logs users in, but forwards no address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from velro_auth.auth.api_keys import claims_of

Slot: TypeAlias = Literal["publishable", "secret"]

#: The role of a legacy key (a JWT) that is in the right variable.
_LEGACY_ROLES: Final[Mapping[Slot, str]] = {"publishable": "anon", "secret": "service_role"}
_VARIABLES: Final[Mapping[Slot, str]] = {
    "publishable": "SUPABASE_PUBLISHABLE_KEY",
    "secret": "SUPABASE_SECRET_KEY",
}
_SHORTEST_KEY: Final = 20
#: Names in DNS (RFC 1035, 2.3.4), underscores included. Other names would fail only when a request is made.
_HOST: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})*\.?")

#: The first characters of a legacy key, which is a JWT.
LEGACY: Final = "eyJ"

#: Variable of earlier releases → what to do about it. It is accepted, so that an update breaks nothing.
RETIRED: Final[Mapping[str, str]] = {
    "LOGIN_GATE": "does nothing any more: the gate always has a fixed number of slots; remove the variable"
    " and set LOGIN_CONCURRENCY if you want another number",
}

#: Variables that are no settings of the service, but look like some: of its commands, of Supabase's tools.
_NO_SETTINGS: Final = frozenset(
    {"AUTH_BENCH_EMAIL", "AUTH_BENCH_PASSWORD", "AUTH_DEV_CONFIRM", "AUTH_ENV_FILE", "AUTH_URL", "SUPABASE_DB_URL"}
)
#: Beginnings of settings that are shared with programs whose other variables are not ours to judge.
_SHARED: Final = frozenset({"BUILD", "GIT", "OTEL", "RAILWAY"})
#: The least likeness of two names, by ``difflib``: a letter too many or too few, an ``IES`` for a ``Y``.
_LIKENESS: Final = 0.85


@dataclass(frozen=True, slots=True)
class SettingError:
    """One wrong setting and what to do about it; never has a secret value.

    Attributes:
        variable: The setting to change.
        advice: What to do.
        check: The check of ``velro-auth doctor`` that reports it.
    """

    variable: str
    advice: str
    check: str = field(default="settings.values", compare=False)

    def __str__(self) -> str:
        """Return one line for a log or a terminal."""
        return f"{self.variable}: {self.advice}"


def misspelt(given: Iterable[str], known: Collection[str]) -> Mapping[str, str]:
    """Return the variables of *given* that have no effect, each with the name of *known* that was probably meant."""
    beginnings = {name.partition("_")[0] for name in known} - _SHARED
    found: dict[str, str] = {}
    for name in given:
        if name.partition("_")[0] in beginnings and name not in known and name not in _NO_SETTINGS:
            found.update((name, meant) for meant in get_close_matches(name, known, n=1, cutoff=_LIKENESS))
    return found


def project_errors(*, url: str, publishable_key: str, secret_key: str) -> list[SettingError]:
    """Return everything that is wrong with the address and the keys of a project."""
    found = [SettingError("SUPABASE_URL", advice, "settings.url") for advice in _url_advice(url)]
    if not publishable_key and not secret_key:
        found.append(SettingError("SUPABASE_SECRET_KEY", "set it to the project's sb_secret_ key", "settings.keys"))
    keys: Mapping[Slot, str] = {"publishable": publishable_key, "secret": secret_key}
    for slot, key in keys.items():
        found += [SettingError(_VARIABLES[slot], advice, "settings.keys") for advice in _key_advice(slot, key)]
        found += [SettingError(_VARIABLES[slot], advice, "settings.project") for advice in _project_advice(key, url)]
    return found


def _url_advice(url: str) -> list[str]:
    if not url:
        return ["set it to the address of the project: https://<ref>.supabase.co"]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not _is_host(host) or parts.scheme not in {"http", "https"}:
        return ["is not an address: write https://<ref>.supabase.co"]
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        return ["must be the bare address of the project, without a path or a user"]
    if parts.scheme == "http" and not _is_private(host):
        return ["must start with https://, because passwords go there"]
    return []


def _is_host(host: str) -> bool:
    """Return whether *host* is an IP address or a valid name; a placeholder is neither."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def _is_private(host: str) -> bool:
    """Return whether *host* is this machine or in a private network, where plain http is accepted."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))


def _key_advice(slot: Slot, key: str) -> list[str]:
    if not key:
        return []
    if not key.isascii() or not key.isprintable() or " " in key:
        return ["has characters that no key has: copy it again"]
    if len(key) < _SHORTEST_KEY:
        return [f"is too short for a key ({len(key)} characters): copy it again"]
    other: Slot = "secret" if slot == "publishable" else "publishable"
    if key.startswith(f"sb_{other}_"):
        return [f"holds a {other} key, which belongs into {_VARIABLES[other]}"]
    return _legacy_advice(slot, key) if key.startswith(LEGACY) else []


def _legacy_advice(slot: Slot, key: str) -> list[str]:
    claims = claims_of(key)
    if claims is None:
        return ["looks like a legacy key but cannot be read: copy it again"]
    if claims.get("role") != _LEGACY_ROLES[slot]:
        return [f"holds a key of role {claims.get('role')!r}, not {_LEGACY_ROLES[slot]!r}"]
    return []


def _project_advice(key: str, url: str) -> list[str]:
    """Return what is wrong if a legacy key names another project; newer keys name none."""
    ref = (claims_of(key) or {}).get("ref") if key.startswith(LEGACY) else None
    host = _host(url)
    project = host.split(".")[0]
    if ref and host.endswith(".supabase.co") and project != ref:
        return [f"belongs to project {ref!r}, but SUPABASE_URL to {project!r}"]
    return []


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
