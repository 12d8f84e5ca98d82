"""The client's address: from a header that a trusted proxy sent, else the peer's own address.

The default header is ``X-Real-IP``, which Railway's proxy overwrites. ``X-Forwarded-For`` is used only when a setting
names it: behind Railway its right-most entry is the platform's own. Entries that the client wrote are on the left, so
the list is read from the right, by as many entries as there are trusted proxies.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Loopback, private ranges, and the shared address space (RFC 6598), which Railway's proxy uses.
PRIVATE: Final = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "100.64.0.0/10",
)

#: The header that is read by default.
REAL_IP: Final = "X-Real-IP"

#: The only header with a list: each proxy adds the address of its own client.
FORWARDED_FOR: Final = "X-Forwarded-For"

#: No address with its zone is longer; bounds the keys of the cache.
_MAX_LENGTH: Final = 64


def parse(text: str) -> Address | None:
    """Parse an address; ``::ffff:`` addresses are unmapped, zones dropped. None when it is no address."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def without_port(text: str) -> str:
    """Remove the port that some proxies add: ``192.0.2.1:4711``, ``[2001:db8::1]:443``."""
    text = text.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def key_of(header: str) -> str:
    """Return the WSGI environ key of *header*."""
    return "HTTP_" + header.upper().replace("-", "_")


def _normal(text: str) -> str:
    """Return an address in its canonical spelling; empty when it is no address."""
    address = parse(without_port(text))
    return "" if address is None else str(address)


class Addresses:
    """Finds the client's address of a request.

    Args:
        trusted_proxies: Networks whose header is used.
        header: The header with the client's address.
        hops: Which entry of ``X-Forwarded-For`` is the client's, counted from the right: the number of proxies that
            add to it. Other headers have one entry.
    """

    def __init__(self, trusted_proxies: Sequence[Network], *, header: str = REAL_IP, hops: int = 1) -> None:
        self._trusted = tuple(trusted_proxies)
        self._key = key_of(header)
        self._hops = hops if self._key == key_of(FORWARDED_FOR) else 0
        # The same few peers connect again and again: parsing and matching costs ten times the look-up.
        self.trusts = functools.lru_cache(maxsize=4096)(self._trusts)
        self._normal = functools.lru_cache(maxsize=4096)(_normal)

    def of(self, environ: Mapping[str, Any]) -> str:
        """Return the client's address as text; empty when it is unknown (a unix socket)."""
        peer = environ.get("REMOTE_ADDR", "")
        return (self.claimed(environ) if self.trusts(peer) else "") or self._normal(peer)

    def claimed(self, environ: Mapping[str, Any]) -> str:
        """Return the address in the header; empty when it holds none."""
        value: str = environ.get(self._key, "")
        if self._hops and value:
            # Fewer entries than proxies: the client bypassed a proxy. The left-most entry is from a trusted one.
            entries = value.rsplit(",", self._hops)
            value = entries[-min(self._hops, len(entries))]
        return value and self._normal(value[:_MAX_LENGTH])

    def _trusts(self, peer: str) -> bool:
        address = parse(peer)
        return address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )
