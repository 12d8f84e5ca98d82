"""Names of the counters: HMACs, never a mail address or an IP address in clear."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import ipaddress
import re
import unicodedata
import uuid
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

#: 128 bits: two of a billion accounts share a key with a chance of 10⁻²¹.
KEY_BYTES: Final = 16

#: Prefix lengths of the networks that count as one caller: a subscriber gets a /64 or more.
PREFIXES: Final = {4: 24, 6: 64}

#: What a subscriber or a site may have in IPv6 (RFC 6177): each has a limit of its own.
WIDER_PREFIXES: Final = (56, 48)

UNKNOWN_NETWORK: Final = "unknown"

#: The beginning of all keys of this service in Redis, for every project.
REDIS_PREFIX: Final = "velro"

#: The version of the names and values of counters in Redis. Another one begins with empty counters, so processes of two
#: releases can share one Redis during an update.
REDIS_VERSION: Final = "v2"

#: Hexadecimal characters of the hash of the project's host: 48 bits keep the projects in one Redis apart.
PROJECT_CHARACTERS: Final = 12

#: A phone number as people write it.
_PHONE: Final = re.compile(r"[\s+]*[0-9][0-9\s()./-]*")

_NAMES: Final = {
    "pair": "pair:%(account)s:%(network)s",
    "strangers": "strangers:%(account)s",
    "network": "network:%(network)s",
    "network56": "network56:%(wide)s",
    "network48": "network48:%(widest)s",
    "service": "service",
    "account": "account:%(account)s",
    "known": "known:%(account)s",
    "known_network": "known_network:%(network)s",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a login, as the counters know them.

    Attributes:
        account: HMAC of the account.
        network: HMAC of the network.
        wider: HMACs of the /56 and the /48 around it; empty for IPv4.
    """

    account: str
    network: str
    wider: tuple[str, ...] = ()

    def key(self, scope: str) -> str:
        """Return the name of the counter of *scope*; never used for a wider network that the caller does not have."""
        wide, widest = self.wider or ("", "")
        return _NAMES[scope] % {"account": self.account, "network": self.network, "wide": wide, "widest": widest}


class Keyring:
    """Turns accounts and addresses into counter names.

    Args:
        secret: Key of the HMAC. All processes that share counters need the same one. Without the key, the names in the
            store reveal nothing. A bare hash would not be enough: mail addresses can be guessed.
    """

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("the key of the throttle's counters is empty")
        self._secret = secret

    def caller(self, account: str, address: str) -> Caller:
        """Return the keys of *account* and *address*."""
        return Caller(self.account(account), self.network(address), self.wider(address))

    def account(self, account: str) -> str:
        """Return the key of *account*."""
        return self._hmac("account", same_account(account))

    def factor(self, account: str, factor_id: str) -> str:
        """Return the key of a second factor of *account*. Another account has another key for the same factor."""
        return self._hmac("factor", f"{same_account(account)}\0{same_factor(factor_id)}")

    def link(self, token_hash: str) -> str:
        """Return the key of a mailed link."""
        return self._hmac("link", token_hash)

    def network(self, address: str) -> str:
        """Return the key of the network of *address*; *address* may be a network in CIDR notation."""
        return self._hmac("network", network_of(address))

    def wider(self, address: str) -> tuple[str, ...]:
        """Return the keys of the /56 and the /48 around *address*; none for IPv4."""
        return tuple(self._hmac("network", network) for network in wider_networks_of(address))

    def _hmac(self, kind: str, value: str) -> str:
        message = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, message, "sha256")[:KEY_BYTES].hex()


def throttle_secret(given: str, *, api_key: str) -> bytes:
    """Return the key of the counters' names: *given*, else one made from the Supabase key, which all replicas have."""
    if given:
        return given.encode()
    return hmac.digest(api_key.encode(), b"velro-auth throttle", "sha256")


def project_prefix(supabase_url: str) -> str:
    """Return the prefix of all keys of a project in Redis, so that several projects can share one Redis.

    The host is hashed because a port or an IPv6 address in it would be read as part of a pattern.
    """
    host = urlsplit(supabase_url).netloc.lower()
    return f"{REDIS_PREFIX}:{hashlib.sha256(host.encode()).hexdigest()[:PROJECT_CHARACTERS]}"


def same_account(account: str) -> str:
    """Return one spelling for all spellings that might reach the same account; for counters only.

    Supabase lower-cases with Go's ``ToLower``, which makes ``İ`` an ``i`` where Python keeps a dot: with plain
    ``lower`` each ``i`` of an address would double the number of budgets. Over-normalising merges counters;
    under-normalising multiplies guess budgets. Of a phone number only the digits count, as for Supabase.
    """
    if _PHONE.fullmatch(account):
        return "".join(filter(str.isdecimal, account))
    if account.isascii():
        return account.strip().lower()
    decomposed = unicodedata.normalize("NFKD", account.strip())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def same_factor(factor_id: str) -> str:
    """Return one spelling of *factor_id*: Supabase reads a UUID in capitals, in braces and without hyphens too.

    All texts that are no UUID share one budget.
    """
    try:
        return str(uuid.UUID(factor_id.strip()))
    except ValueError:
        return ""


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return the network that *address* is counted under: /24, or /64 for IPv6.

    ``::ffff:`` addresses count as IPv4, and zone names are dropped. All texts that are no address share one network:
    a proxy that sends nonsense must not get a budget for each word of it.
    """
    parsed = _parsed(address)
    return UNKNOWN_NETWORK if parsed is None else _around(parsed, PREFIXES[parsed.version])


@functools.lru_cache(maxsize=4096)
def wider_networks_of(address: str) -> tuple[str, ...]:
    """Return the /56 and the /48 around *address*; none for IPv4 or for a text that is no address."""
    parsed = _parsed(address)
    if parsed is None or parsed.version == 4:  # noqa: PLR2004 - the name of the protocol
        return ()
    return tuple(_around(parsed, prefix) for prefix in WIDER_PREFIXES)


def uses_up(in_use: Counter[str], address: str, limit: int) -> bool:
    """Return whether a network of *address* has used up its share.

    For IPv6, the /56 and the /48 around the address have a share too, because a site with a /48 has 65,536 networks. A
    /64 gets two thirds of that share, so that it does not use up the share of its neighbours.

    Args:
        in_use: Network → what it uses.
        address: The caller's address.
        limit: The share of a network.
    """
    network, *wider = networks_of(address)
    own = max(1, limit * 2 // 3) if wider else limit
    return in_use[network] >= own or any(in_use[around] >= limit for around in wider)


def networks_of(address: str) -> tuple[str, ...]:
    """Return all networks that *address* is counted under, the smallest one first."""
    return network_of(address), *wider_networks_of(address)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.strip().partition("/")[0].partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _around(address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int) -> str:
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
