"""What a caller is counted under: HMACs, never a mail address or an IP address in clear."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import ipaddress
import unicodedata
from typing import Final
from urllib.parse import urlsplit

#: 128 bits: two of a billion accounts share a key with a chance of 10⁻²¹.
KEY_BYTES: Final = 16

#: The part of an address that one caller cannot easily leave: a subscriber gets a /64 or more.
PREFIXES: Final = {4: 24, 6: 64}

UNKNOWN_NETWORK: Final = "unknown"

#: What all keys of this service in Redis begin with, whatever the project.
REDIS_PREFIX: Final = "velro"

#: Hexadecimal characters of the hash of the project's host: 48 bits tell the projects of one Redis apart.
PROJECT_CHARACTERS: Final = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who tries to log in, as the counters know them.

    Attributes:
        account: HMAC of the account.
        network: HMAC of the network.
    """

    account: str
    network: str

    def key(self, scope: str) -> str:
        """Return the name of the counter of *scope*."""
        return _NAMES[scope] % {"account": self.account, "network": self.network}


_NAMES: Final = {
    "pair": "pair:%(account)s:%(network)s",
    "strangers": "strangers:%(account)s",
    "network": "network:%(network)s",
    "service": "service",
    "account": "account:%(account)s",
    "known": "known:%(account)s",
}


class Keyring:
    """Turns accounts and addresses into counter names.

    Args:
        secret: Key of the HMAC. All processes that share counters need the same one. Whoever reads the store
            learns nothing without it: mail addresses are guessable, so a bare hash would hide nothing.
    """

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("the key of the throttle's counters is empty")
        self._secret = secret

    def caller(self, account: str, address: str) -> Caller:
        """Return the counter names of *account* as tried from *address*."""
        return Caller(self.account(account), self.network(address))

    def account(self, account: str) -> str:
        """Return the key of *account*."""
        return self._hmac("account", same_account(account))

    def network(self, address: str) -> str:
        """Return the key of the network of *address*; *address* may be a network in CIDR notation."""
        return self._hmac("network", network_of(address))

    def _hmac(self, kind: str, value: str) -> str:
        message = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, message, "sha256")[:KEY_BYTES].hex()


def throttle_secret(given: str, *, api_key: str) -> bytes:
    """Return the key of the counters' names: the one that was set, else one made from the Supabase key.

    All replicas have the same Supabase key, so they agree without another secret to hand out.
    """
    if given:
        return given.encode()
    return hmac.digest(api_key.encode(), b"velro-auth throttle", "sha256")


def project_prefix(supabase_url: str) -> str:
    """Return what every key of a project in Redis begins with, so that several projects can share one Redis.

    The host is hashed because a port or an IPv6 address in it would be read as part of a pattern.
    """
    host = urlsplit(supabase_url).netloc.lower()
    return f"{REDIS_PREFIX}:{hashlib.sha256(host.encode()).hexdigest()[:PROJECT_CHARACTERS]}"


def same_account(account: str) -> str:
    """Return one spelling for all spellings that might reach the same account; for counters only.

    Supabase lower-cases with Go's ``ToLower``, which makes ``İ`` an ``i`` where Python keeps a dot: with plain
    ``lower`` each ``i`` of an address would double the number of budgets. Folding more than Supabase does is
    harmless, folding less is not.
    """
    if account.isascii():
        return account.strip().lower()
    decomposed = unicodedata.normalize("NFKD", account.strip())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return the network that *address* is counted under: /24, or /64 for IPv6.

    ``::ffff:`` addresses are unmapped first, zone names are dropped. What is no address at all shares one
    network: a proxy that sends nonsense must not get a budget for each word of it.
    """
    try:
        parsed = ipaddress.ip_address(address.strip().partition("/")[0].partition("%")[0])
    except ValueError:
        return UNKNOWN_NETWORK
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network(f"{parsed}/{PREFIXES[parsed.version]}", strict=False))
